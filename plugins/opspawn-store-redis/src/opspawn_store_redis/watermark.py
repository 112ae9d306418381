"""Notices when the store went back in time: after a fail-over to a replica that lagged, or a restart that lost writes.

Each script that writes raises a counter. A server that answers one call after another never shows a smaller one, so a
reply that counts less than what was known when its call was sent tells of writes that are gone.
"""

from __future__ import annotations

from datetime import UTC, datetime


class Watermark:
    """The highest counters that were seen. May be used from several threads: a lost update only sees less."""

    def __init__(self) -> None:
        self.era = ""
        self.writes = 0
        self.pos = 0
        self.alarm: str | None = None

    def start(self, *, era: str, writes: int, pos: int) -> None:
        """What stands in the store when it is opened, or once its going back was noticed."""
        self.era, self.writes, self.pos = era, writes, max(self.pos, pos)

    def rises(self, since: int, *, pos: int, writes: int, era: bytes) -> bool:
        """Take note of a reply whose call was sent when `since` was the counter; False if the store went back."""
        if era.decode() != self.era or writes < since:  # guard: a store that lost writes is noticed
            if self.alarm is None:
                lost = f"{since - writes} writes" if era.decode() == self.era else "everything"
                self.alarm = (
                    f"The store went back in time at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC and lost {lost}."
                )
            return False
        self.writes = max(self.writes, writes)
        self.pos = max(self.pos, pos)
        return True
