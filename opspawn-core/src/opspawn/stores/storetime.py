"""The store's clock, which never goes back within a file.

A system clock may be set back, and a file may come from a machine whose clock was ahead. The clock then goes on from
the highest time in the file at its usual pace, until the system's has caught up: so leases still end, and nothing is
older than what was before it. The highest time is that of the last event, or stands in the table `clock` where the last
commits had none.

Processes on one file have one system clock, so each sees for itself when it is set back. Only then, while it is behind,
and once a second to be sure, what others wrote is looked at: a statement at each commit would cost more than the
commit.
"""

from __future__ import annotations

import sqlite3

from opspawn.contracts.clock import Clock

HIGHEST = "SELECT max(coalesce((SELECT time FROM events ORDER BY position DESC LIMIT 1), 0), (SELECT time FROM clock))"
_LOOK_EVERY = 1_000_000
_STEP = 1000  # a clock that is pulled gently moves less than this at a time


class StoreTime:
    """For the writer's thread alone. All times are in microseconds.

    Args:
        clock: where the time comes from.
        shared: whether other processes may write the file.
    """

    def __init__(self, clock: Clock, shared: bool) -> None:
        self._clock = clock
        self._shared = shared
        self._looked: int | None = None  # when, on the clock that never steps
        self._shift = 0  # from that clock to the system's, the most since then
        self._highest = 0
        self._ahead = 0

    def read(self, connection: sqlite3.Connection) -> int:
        """The time of a transaction that has just begun, since 1970."""
        wall, steady = round(self._clock.time() * 1_000_000), round(self._clock.monotonic() * 1_000_000)
        if self._must_look(wall, steady):
            self._looked = steady
            self._shift = wall - steady
            self._highest = max(self._highest, connection.execute(HIGHEST).fetchone()[0])
        if wall >= self._highest:
            self._ahead = 0
        else:  # guard: the clock never goes back
            self._ahead = max(self._ahead, self._highest - wall)
        self._highest = wall + self._ahead
        return self._highest

    def advance(self, to: int) -> None:
        """Go on from a time, if that is later: for what comes from a store whose clock was ahead."""
        if to > self._highest:
            self._ahead += to - self._highest
            self._highest = to

    def keep(self, connection: sqlite3.Connection) -> None:
        """Before a commit that holds no event: what comes after must not be older."""
        if self._shared:
            connection.execute("UPDATE clock SET time = ?", (self._highest,))

    def _must_look(self, wall: int, steady: int) -> bool:
        if self._looked is None:
            return True
        if not self._shared:
            return False
        self._shift = max(self._shift, wall - steady)
        set_back = wall - steady < self._shift - _STEP
        return set_back or self._ahead > 0 or not 0 <= steady - self._looked < _LOOK_EVERY
