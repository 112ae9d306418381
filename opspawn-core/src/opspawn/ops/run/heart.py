"""Keeps the leases of a worker alive, from a thread of its own, and fences the worker when it cannot.

The thread has its own event loop, so a tool that blocks the worker's loop does not cost the leases. The worker fences
itself: once 80 % of a lease has passed since the *start* of the last successful renewal, on a clock that counts
suspension too, no effect may begin and the runs are cancelled, before the store gives them to somebody else.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence

from loguru import logger

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.store import Store
from opspawn.errors import Interrupted, StoreError

FENCE_AT = 0.8
RENEWALS_PER_LEASE = 4
#: As part of a lease: how soon a renewal that failed is tried again, and how late a fence may be noticed.
HASTE = 0.05


class Heart:
    """One per worker. `held` gives (task, token) pairs, from any thread; `lost` gets those that are lost, in the
    heart's thread. In virtual time the heart beats in the event loop that starts it.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        lease_s: float,
        held: Callable[[], Sequence[tuple[str, int]]],
        lost: Callable[[Sequence[tuple[str, int]]], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._worker = worker
        self._lease_s = lease_s
        self._fence_s = FENCE_AT * lease_s
        self._held = held
        self._lost = lost
        self._clock = clock
        self._pause = lease_s / RENEWALS_PER_LEASE
        self._stop = threading.Event()
        self._renewed = clock.monotonic()
        self._wanted = asyncio.Event()
        self._beating: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._beat, name=f"opspawn-heart-{worker}", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        if self._clock.virtual:
            self._beating = asyncio.create_task(self._beat_here())
        else:
            self._thread.start()

    async def aclose(self) -> None:
        """Stop renewing, and wait for a renewal in flight."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        else:
            await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """Stop renewing, and wait for a renewal in flight."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._lease_s)

    def leased(self) -> None:
        """Nothing was held so far, and a claim begins: leases count from now."""
        self._wanted.set()
        self._renewed = self._clock.monotonic()

    @property
    def fenced(self) -> bool:
        """Whether leases may be about to end."""
        return self._clock.monotonic() - self._renewed > self._fence_s

    def check(self) -> None:
        """Raise Interrupted when fenced: no effect may begin."""
        if self.fenced:
            raise Interrupted("The leases of this worker could not be renewed in time; its tasks go on elsewhere.")

    def _beat(self) -> None:
        while not self._stop.wait(self._next()):
            asyncio.run(self._renew())

    async def _beat_here(self) -> None:
        while True:
            if not self._held():  # virtual time would have to pass beat by beat
                self._wanted.clear()
                await self._wanted.wait()
            await asyncio.sleep(self._next())
            await self._renew()

    def _next(self) -> float:
        return self._pause * random.uniform(0.8, 1.2)

    async def _renew(self) -> None:
        self._pause = self._lease_s / RENEWALS_PER_LEASE
        leases = self._held()
        began = self._clock.monotonic()
        if not leases:
            self._renewed = began
            return
        try:
            statuses = await self._store.renew(self._worker, leases, self._lease_s)
        except Exception as error:  # whatever a store raises: a heart that stops would cost every lease
            kind = error.error_type if isinstance(error, StoreError) else "error"
            logger.bind(error_type=kind).warning("Leases could not be renewed: {}", error)
            self._pause = HASTE * self._lease_s
            if self.fenced:
                self._lost(leases)
            return
        self._renewed = began
        if lost := [lease for lease, status in zip(leases, statuses, strict=True) if not status.kept]:
            self._lost(lost)
