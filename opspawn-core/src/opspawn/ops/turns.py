"""Whose turn it is: work that one process of a store does at a time, kept as a record that has to be renewed.

A turn keeps others from doing the same at the same time; it fences nothing. What is done in it must be right when two
do it, which happens when a process was suspended for longer than its turn.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.store import Batch, Delete, Put, Record, Store
from opspawn.errors import Conflict

KIND = "turn"


class Turn:
    """The turn `name`, for `owner`: `take` gets it, and renews it, for `for_s` seconds."""

    def __init__(
        self, store: Store, name: str, owner: str, *, for_s: float = 60.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._store = store
        self._name = name
        self._owner = owner
        self._for_s = for_s
        self._clock = clock

    async def take(self) -> bool:
        """Whether it is this owner's turn from now on. Raises: StoreError."""
        known = await self._store.get(KIND, self._name)
        if known is not None and known.data["owner"] != self._owner and not self._over(known):
            return False
        record = Record(KIND, self._name, {"owner": self._owner, "for_s": self._for_s})
        try:
            await self._store.commit(Batch([Put(record, expect=0 if known is None else known.version)]))
        except Conflict:  # somebody was faster
            return False
        return True

    async def taken(self) -> datetime | None:
        """When somebody last took it, by the store's clock. Raises: StoreError."""
        known = await self._store.get(KIND, self._name)
        return None if known is None else known.updated

    async def holder(self) -> str | None:
        """Who has it, or None. Raises: StoreError."""
        known = await self._store.get(KIND, self._name)
        return None if known is None or self._over(known) else str(known.data["owner"])

    async def give_up(self) -> None:
        """Let the next one have it at once. Raises: StoreError."""
        known = await self._store.get(KIND, self._name)
        if known is not None and known.data["owner"] == self._owner:
            with suppress(Conflict):
                await self._store.commit(Batch([Delete(KIND, self._name, known.version)]))

    def _over(self, known: Record) -> bool:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return known.updated is None or now - known.updated > timedelta(seconds=known.data["for_s"])
