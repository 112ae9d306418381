"""The store's clock, which never goes back within a file.

A system clock may be set back, and a file may come from a machine whose clock was ahead. The clock then goes on from
the highest time in the file at its usual pace, until the system's has caught up: so leases still end, and nothing is
older than what was before it. The highest time is that of the last event, or stands in the table `clock` where the last
commits had none.
"""

from __future__ import annotations

import sqlite3

from opspawn.contracts.clock import Clock

_HIGHEST = "SELECT max(coalesce((SELECT time FROM events ORDER BY position DESC LIMIT 1), 0), (SELECT time FROM clock))"


class StoreTime:
    """For the writer's thread alone.

    Args:
        clock: where the time comes from.
        shared: whether other processes may write the file.
    """

    def __init__(self, clock: Clock, shared: bool) -> None:
        self._clock = clock
        self._shared = shared
        self._seen = -1  # the version of the file's data when its highest time was read
        self._highest = 0
        self._ahead = 0

    def read(self, connection: sqlite3.Connection) -> int:
        """The time of a transaction that has just begun, in microseconds since 1970."""
        self._look(connection)
        wall = round(self._clock.time() * 1_000_000)
        if wall >= self._highest:
            self._ahead = 0
        else:  # guard: the clock never goes back
            self._ahead = max(self._ahead, self._highest - wall)
        self._highest = wall + self._ahead
        return self._highest

    def keep(self, connection: sqlite3.Connection) -> None:
        """Before a commit that holds no event: what comes after must not be older."""
        if self._shared:
            connection.execute("UPDATE clock SET time = ?", (self._highest,))

    def _look(self, connection: sqlite3.Connection) -> None:
        if self._seen < 0 or self._shared:
            seen = connection.execute("PRAGMA data_version").fetchone()[0]  # moves when another process commits
            if seen != self._seen:
                self._seen = seen
                self._highest = max(self._highest, connection.execute(_HIGHEST).fetchone()[0])
