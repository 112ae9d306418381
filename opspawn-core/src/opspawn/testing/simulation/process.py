"""A process of the simulation: what it knows of the store, of time and of doorbells goes through here, and may fail."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from opspawn.contracts.store import Batch, Claim, Lease, Receipt, Store
from opspawn.errors import StoreError
from opspawn.testing.virtual import VirtualClock
from opspawn.wakers.local import LocalWaker

T = TypeVar("T")
_LOST, _SLOW = 0.015, 0.1
_WRITES = {"commit", "claim", "renew"}


class Weather:
    """How things stand for all processes. In good weather nothing fails."""

    def __init__(self) -> None:
        self.bad = True


class Process:
    """A process: alive, frozen or dead. It is its own store, as a `Store` that may fail, and its own clock.

    Attributes:
        off_s: how far its clock is off. dead: for good. acting: how many effects are under way in it.
    """

    virtual: Final = True

    def __init__(self, name: str, store: Store, clock: VirtualClock, chance: random.Random, weather: Weather) -> None:
        self.name = name
        self.off_s = 0.0
        self.dead = False
        self.acting = 0
        self._store = store
        self._clock = clock
        self._chance = chance
        self._weather = weather
        self._thawed = asyncio.Event()
        self._thawed.set()

    # -- what happens to it --------------------------------------------------------------------------------------------

    def die(self) -> None:
        """Nothing of it reaches the store any more."""
        self.dead = True
        self._thawed.set()

    def freeze(self) -> None:
        """Stop it, as SIGSTOP does. Its code goes on to its next step at most."""
        self._thawed.clear()

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return not self._thawed.is_set()

    def thaw(self) -> None:
        """Let it go on, wherever it was."""
        self._thawed.set()

    async def live(self, seconds: float) -> None:
        """Let time pass in this process."""
        self.acting += 1
        try:
            await asyncio.sleep(seconds)
            await self._may_go_on()
        finally:
            self.acting -= 1

    async def _may_go_on(self) -> None:
        await self._thawed.wait()
        if self.dead:
            raise StoreError("This process is dead.")

    # -- its clock -----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """What this machine takes for the time."""
        return self._clock.time() + self.off_s

    def monotonic(self) -> float:
        """What does not step."""
        return self._clock.monotonic()

    # -- its store -----------------------------------------------------------------------------------------------------

    async def commit(self, batch: Batch) -> Receipt:
        return await self._ask(lambda: self._store.commit(batch), writes=True)

    async def claim(self, claim: Claim) -> list[Lease]:
        return await self._ask(lambda: self._store.claim(claim), writes=True)

    async def renew(self, *arguments: Any) -> Any:
        return await self._ask(lambda: self._store.renew(*arguments), writes=True)

    def __getattr__(self, name: str) -> Any:
        passed_on = getattr(self._store, name)
        if not inspect.iscoroutinefunction(passed_on):
            return passed_on
        return lambda *args, **kwargs: self._ask(lambda: passed_on(*args, **kwargs), writes=False)

    async def _ask(self, ask: Callable[[], Awaitable[T]], writes: bool) -> T:
        await self._may_go_on()
        if not self._weather.bad:
            return await ask()
        chance = self._chance.random
        await self._linger(chance())
        await asyncio.sleep(0)  # others may be first
        if writes and chance() < _LOST:
            raise StoreError("The store cannot be reached.")
        answer = await ask()
        if writes and chance() < _LOST:
            raise StoreError("The reply is lost.")
        await self._linger(chance())
        return answer

    async def _linger(self, luck: float) -> None:
        if luck < _SLOW:
            await asyncio.sleep(self._chance.expovariate(2.0))
        await self._may_go_on()


class Doorbell(LocalWaker):
    """A waker whose rings may be lost, late, or come twice."""

    def __init__(self, chance: random.Random, weather: Weather) -> None:
        super().__init__()
        self._chance = chance
        self._weather = weather

    def ring(self, queue: str) -> None:
        luck = self._chance.random() if self._weather.bad else 1.0
        if luck < 0.2:
            return
        if luck < 0.4:
            asyncio.get_running_loop().call_later(self._chance.expovariate(1.0), super().ring, queue)
        if luck > 0.3:
            super().ring(queue)
