"""Following the journal live.

One thread, alive only while somebody tails, reads what was committed, by this process or another, and offers it to
every follower. It is told of our own commits, and looks for those of others every 100 ms
(`PRAGMA data_version`, a few microseconds).

A follower keeps at most 1,000 items. One that falls behind drops them, reads the database at its own pace, and joins
the others again once it has read everything. All its state is touched in its own event loop only, so there is no race
between "read everything" and "an offer came": an offer that came while reading means reading once more.

A follower that wants some types only is offered nothing else; while all are like that, nothing else is read. Whoever
ends a claimed task tells those who wait for it (see `Worker`), so such followers may hear of that at the next look.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import replace

from loguru import logger

from opspawn.contracts.events import Event, TaskDelta
from opspawn.stores import queries
from opspawn.stores.followers import KEPT, Follower, wanted_types
from opspawn.stores.readers import Source

_LOOK_EVERY_S = 0.1
_PAGE = 500


class Hub:
    """Offers commits and deltas to all followers. Its source belongs to its thread, and to `position`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()  # whoever just forgets its follower leaves, too
        self._guard = threading.RLock()  # a follower whose loop is gone leaves while it is offered something
        self._look = threading.Event()
        self._wanted: Set[str] | None = None  # the types that followers want; empty for all, None without followers
        self._commits = self._offered = 0  # groups committed by this process, and those whose events were offered
        self._waiting: deque[tuple[int, Sequence[TaskDelta]]] = deque(maxlen=KEPT)  # deltas, and the position before
        self._thread: threading.Thread | None = None
        self._closed = False

    def position(self) -> int:
        """The newest position, or 0 when closed. Takes microseconds, so that `tail()` knows at once where "now" is."""
        with self._source.lock:
            return 0 if self._closed else queries.last_position(self._source.connection)

    def join(self, follower: Follower) -> bool:
        """Offer to this follower from now on; False when the store is closed."""
        with self._guard:
            if self._closed:
                return False
            self._followers.add(follower)
            self._wanted = wanted_types(self._followers)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, args=(self.position(),), name="opspawn-sqlite-tail", daemon=True
                )
                self._thread.start()
            return True

    def leave(self, follower: Follower) -> None:
        """Offer nothing more to this follower."""
        with self._guard:
            self._followers.discard(follower)

    def committed(self, types: Set[str]) -> None:
        """Say that this process committed events of these types. Called by the writer, very often, and before anybody
        hears of the commit.
        """
        self._commits += 1
        wanted = self._wanted
        if wanted is not None and not (wanted and wanted.isdisjoint(types)):
            self._look.set()

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas after what was committed before them."""
        if not self._followers:
            return
        with self._guard:
            if self._closed or all(follower.types for follower in self._followers):
                return
            try:
                before = self.position()
            except sqlite3.Error:
                return  # deltas may be lost; the journal has the whole answer
            deltas = [replace(delta, after=before) for delta in deltas]
            if self._waiting or self._offered != self._commits:
                self._waiting.append((before, deltas))
                self._look.set()
                return
            followers = list(self._followers)
        for follower in followers:
            follower.post(deltas)

    def close(self) -> None:
        """End all followers and the thread; blocks. Idempotent."""
        with self._guard:
            self._closed = True
            followers = list(self._followers)
            self._followers.clear()
            thread = self._thread
        for follower in followers:
            follower.end()
        self._look.set()
        if thread is not None:
            thread.join()
        self._source.close()

    def _work(self, position: int) -> None:
        version: int | None = None
        told = ""
        while True:
            self._look.wait(_LOOK_EVERY_S)
            self._look.clear()
            with self._guard:
                followers = list(self._followers)
                self._wanted = wanted = wanted_types(followers)
                if wanted is None:
                    self._thread = None
                    self._waiting.clear()
                    return
            commits = self._commits  # read before the events: a commit that comes meanwhile counts as not offered
            try:
                with self._source.lock:
                    connection = self._source.connection
                    seen = None if self._source.shared else connection.execute("PRAGMA data_version").fetchone()[0]
                    changed = seen is None or seen != version
                    events, reached = self._read(position, wanted) if changed else ([], position)
                version = seen
                self._offer(followers, events, reached)
            except sqlite3.Error:
                continue  # a disk that fails will tell the writer and the readers, who have somebody to tell
            except Exception as error:  # whatever it is, those who follow must not wait for ever, and nobody know why
                if str(error) != told:
                    told = str(error)
                    logger.bind(error_type="tail").error(
                        "Events after {} could not be told; trying again: {}: {}", position, type(error).__name__, told
                    )
                for follower in followers:  # each reads by itself, and hears what is wrong
                    follower.miss()
                continue
            position = reached
            if len(events) == _PAGE:
                version = None
                self._look.set()
            else:
                self._offered = commits

    def _read(self, position: int, types: Set[str]) -> tuple[list[Event], int]:
        """The next events of these types, and up to where that is all of them."""
        newest = queries.last_position(self._source.connection) if types else 0  # first: there may be more by then
        events = queries.events_after(self._source.connection, (position, _PAGE, types))
        last = events[-1].position if events else position
        return events, last if len(events) == _PAGE else max(last, newest)

    def _offer(self, followers: Sequence[Follower], events: Sequence[Event], reached: int) -> None:
        """Offer events, and the deltas that wait between them, up to the position reached."""
        items: list[Event | TaskDelta] = []
        rest = deque(events)
        with self._guard:
            while self._waiting and self._waiting[0][0] <= reached:
                before, deltas = self._waiting.popleft()
                while rest and rest[0].position <= before:
                    items.append(rest.popleft())
                items.extend(deltas)
            items.extend(rest)
            # Under the guard, so that deltas published from now on come after these.
            for follower in followers if items else ():
                follower.post(items)
            for follower in self._followers.difference(followers):  # joined while we read
                follower.miss()
