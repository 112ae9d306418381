"""Whoever follows the journal live: what `tail` returns.

A follower keeps at most 1,000 items. One that falls behind drops them, reads the store at its own pace, and joins the
others again once it has read everything. All its state is touched in its own event loop only, so there is no race
between "read everything" and "an offer came": an offer that came while reading means reading once more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence, Set
from typing import Protocol

from opspawn.contracts.events import Event, TaskDelta

KEPT = 1000
_PAGE = 500

Read = Callable[[int, int, Set[str]], Awaitable[list[Event]]]  # (after this position, at most so many, of types)


class Hub(Protocol):
    """Offers to followers what is committed."""

    def join(self, follower: Follower) -> bool:
        """Offer to this follower from now on; False when the store is closed."""
        ...

    def leave(self, follower: Follower) -> None:
        """Offer nothing more to this follower."""
        ...


class Follower(AsyncIterator["Event | TaskDelta"]):
    """What `tail` returns. Ends when the store is closed."""

    def __init__(self, hub: Hub, read: Read, position: int, types: Set[str] = frozenset()) -> None:
        self.types = types
        self._hub = hub
        self._read = read
        self._position = position
        self._items: deque[Event | TaskDelta] = deque()
        self._held: deque[TaskDelta] = deque(maxlen=KEPT)  # deltas that came while it caught up
        self._behind = True
        self._missed = False
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Event | TaskDelta:
        self._start()
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            if self._behind:
                await self._catch_up()
            else:
                self._news.clear()
                await self._news.wait()
        item = self._items.popleft()
        if isinstance(item, Event):
            self._position = item.position
        return item

    def _start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if not self._hub.join(self):
                self._end()

    async def aclose(self) -> None:
        """Stop following; what was not fetched is dropped."""
        self._hub.leave(self)
        self._end()

    async def _catch_up(self) -> None:
        self._missed = False
        page = await self._read(self._position, _PAGE, self.types)
        for event in page:
            while self._held and self._held[0].after < event.position:
                self._items.append(self._held.popleft())
            self._items.append(event)
        if not page and not self._missed:
            self._behind = False
            self._items.extend(self._held)
            self._held.clear()

    def post(self, items: Sequence[Event | TaskDelta]) -> None:
        """Offer items from any thread; what this follower does not want is left out."""
        if self.types:
            items = [item for item in items if isinstance(item, Event) and item.type in self.types]
        if items:
            self._call(self._offer, items)

    def miss(self) -> None:
        """Say, from any thread, that something was not offered."""
        self._call(self._fall_behind)

    def end(self) -> None:
        """Let the iteration stop, from any thread."""
        self._call(self._end)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the follower's loop was closed under it
            self._hub.leave(self)

    def _offer(self, items: Sequence[Event | TaskDelta]) -> None:
        if self._behind or len(self._items) + len(items) > KEPT:
            if self._behind:
                self._held.extend(item for item in items if isinstance(item, TaskDelta))
            if any(isinstance(item, Event) for item in items):
                self._fall_behind()
        else:
            last = self._position
            self._items.extend(item for item in items if isinstance(item, TaskDelta) or item.position > last)
        self._news.set()

    def _fall_behind(self) -> None:
        self._missed = True
        if not self._behind:
            self._behind = True
            self._items.clear()
        self._news.set()

    def _end(self) -> None:
        self._ended = True
        self._items.clear()
        self._news.set()


def wanted_types(followers: Collection[Follower]) -> Set[str] | None:
    """The types that somebody wants: empty for all, None for nothing."""
    if not followers:
        return None
    if not all(follower.types for follower in followers):
        return frozenset()
    return frozenset[str]().union(*(follower.types for follower in followers))
