"""A store as one process sees it that may die: from then on nothing of it reaches the store."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.store import Batch, Claim, Lease, Receipt, Store
from opspawn.errors import StoreError


class Mortal:
    """Passes everything on until it is dead.

    Args:
        dies_at: at which write, counted from 1; 0 is never. after: once that write was applied, instead of before (of
            a commit; a claim is always applied).

    Attributes:
        writes: how many commits and claims were applied. dead: set once the process is dead.
    """

    def __init__(self, store: Store, dies_at: int = 0, *, after: bool = False) -> None:
        self._store = store
        self._dies_at = dies_at
        self._after = after
        self.name = store.name
        self.writes = 0
        self.dead = asyncio.Event()

    def die(self) -> None:
        """From now on every call fails, also those that wait for an answer."""
        self.dead.set()

    async def commit(self, batch: Batch) -> Receipt:
        self._alive()
        if self.writes + 1 == self._dies_at and not self._after:
            self.die()
        self._alive()
        receipt = await self._store.commit(batch)
        self._wrote()
        return receipt

    async def claim(self, claim: Claim) -> list[Lease]:
        """To die before a claim is to die after the write before it: so a claim is always applied."""
        self._alive()
        leases = await self._store.claim(claim)
        if leases:  # a claim that found nothing wrote nothing
            self._wrote()
        return leases

    def publish(self, deltas: Any) -> None:
        if not self.dead.is_set():
            self._store.publish(deltas)

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> Any:
        self._alive()
        return self._store.tail(after, types=types)

    async def aclose(self) -> None:
        """Does nothing: whoever opened the store closes it."""

    def __getattr__(self, name: str) -> Any:
        """A read, or a renewal."""
        passed_on = getattr(self._store, name)
        if not inspect.iscoroutinefunction(passed_on):
            return passed_on

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._alive()
            answer = await passed_on(*args, **kwargs)
            self._alive()
            return answer

        return call

    def _alive(self) -> None:
        if self.dead.is_set():
            raise StoreError("This process is dead.")

    def _wrote(self) -> None:
        self._alive()
        self.writes += 1
        if self.writes == self._dies_at:
            self.die()
        self._alive()
