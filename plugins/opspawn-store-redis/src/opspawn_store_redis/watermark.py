"""Notices when the store went back in time: after a fail-over to a replica that lagged, or a restart that lost writes.

Each function that writes raises a counter, and a server that was started, or took over, goes on in a new era. A server
that answers one call after another shows neither a smaller counter nor another era; one that does is asked by `era`,
which knows how much was kept of each era, whatever was written since.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from opspawn_store_redis.encoding import Argument

#: Era and counter, as they were known when a call was sent.
Since = tuple[bytes, int]
_ERAS = 16


class Watermark:
    """The highest counters that were seen. May be used from several threads: a lost update only sees less.

    Attributes:
        pos: the highest position. alarm: what was lost, until somebody acknowledges it. alarmed_at: the position then.
        compared: whether a reply was compared since this was last set to False.
    """

    def __init__(self) -> None:
        self.since: Since = (b"", 0)
        self.pos = 0
        self.alarm: str | None = None
        self.alarmed_at = 0
        self.compared = False
        self._former: tuple[bytes, ...] = ()  # eras before that of `since`, the newest first
        self._fewest: int | None = None
        self._guard = threading.Lock()

    def rises(self, since: Since, *, pos: int, writes: int, era: bytes) -> bool:
        """Take note of a reply whose call was sent at `since`; False if the store may have gone back."""
        known = self.since
        newest = since[0] == known[0]  # else it was sent before `era` was asked: what it could tell is known
        if newest and (era != known[0] or writes < since[1]):  # guard: a store that lost writes is noticed
            if era == known[0]:
                self._fewest = writes if self._fewest is None else min(self._fewest, writes)
            return False
        if era != known[0]:
            return True
        if newest:
            self.compared = True
        if writes > known[1]:
            with self._guard:
                if self.since[0] == era:
                    self.since = (era, max(self.since[1], writes))
        self.pos = max(self.pos, pos)
        return True

    @property
    def writes(self) -> int:
        """The highest count of writes."""
        return self.since[1]

    def words(self, seen: Since, layout: int) -> list[Argument]:
        """What `era` is asked of what was seen: `since`, as it is now."""
        era, writes = seen
        fewest = "" if self._fewest is None else self._fewest
        return [self.pos, layout, writes, fewest, *((era, *self._former) if era else ())]

    def learn(self, seen: Since, answer: Sequence[Any]) -> bool:
        """Take note of what `era` answered; whether writes that were seen are gone, which is told once."""
        _, pos, writes, era, _, kept = answer
        with self._guard:
            if seen[0] != self.since[0]:
                return False  # so has somebody else, meanwhile
            self.pos, self._fewest = max(self.pos, pos), None
            if kept < seen[1]:
                lost = f"{seen[1] - kept} writes" if kept >= 0 else "everything"
                when = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
                self.alarm = f"The store went back in time at {when} and lost {lost}."
                self.alarmed_at, self._former, self.since = self.pos, (), (era, writes)
                return True
            if era != seen[0]:
                self._former = (seen[0], *self._former)[:_ERAS] if seen[0] else ()
                self.since = (era, max(self.since[1], writes))
            return False
