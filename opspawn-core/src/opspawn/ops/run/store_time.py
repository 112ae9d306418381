"""The store's time, as a run in this process knows it."""

from __future__ import annotations

from datetime import datetime

from opspawn.contracts.clock import Clock


class StoreTime:
    """A clock that was set by the store when it leased a task, and goes on by what cannot step.

    Timers are kept in the store's time: so a worker whose own clock is wrong, or jumps, wakes nobody early or late. It
    is behind the store by the time that its reply took.

    Args:
        leased: when the lease began, by the store. None: the clock's own time is taken.
        received: when the reply came, by `clock.monotonic()`.
    """

    __slots__ = ("_lead", "monotonic", "virtual")

    def __init__(self, clock: Clock, leased: datetime | None, received: float) -> None:
        self.virtual = clock.virtual
        self.monotonic = clock.monotonic
        self._lead = (clock.time() if leased is None else leased.timestamp()) - received

    def time(self) -> float:
        """Seconds since 1970."""
        return self.monotonic() + self._lead
