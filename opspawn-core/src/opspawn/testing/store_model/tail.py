"""What `tail` of the model returns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from opspawn.contracts.events import Event, TaskDelta

_KEPT = 1000  # items that a follower may be behind before deltas are dropped


class Tail(AsyncIterator["Event | TaskDelta"]):
    """Events, never dropped, and deltas, dropped while it is far behind."""

    def __init__(self, types: frozenset[str]) -> None:
        self._types = types
        self._items: deque[Event | TaskDelta] = deque()
        self._news = asyncio.Event()
        self._ended = False

    async def __anext__(self) -> Event | TaskDelta:
        while not self._items and not self._ended:
            self._news.clear()
            await self._news.wait()
        if self._ended:
            raise StopAsyncIteration
        return self._items.popleft()

    async def aclose(self) -> None:
        """Stop following."""
        self.end()

    def offer(self, items: Iterable[Event | TaskDelta]) -> None:
        """Queue what is wanted."""
        for item in items:
            if isinstance(item, Event):
                wanted = not self._types or item.type in self._types
            else:
                wanted = not self._types and len(self._items) < _KEPT
            if wanted:
                self._items.append(item)
        self._news.set()

    def end(self) -> None:
        """Let the iteration stop."""
        self._ended = True
        self._items.clear()
        self._news.set()
