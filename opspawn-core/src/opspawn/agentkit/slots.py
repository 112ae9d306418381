"""How many calls of one tool may be at work at a time, in each event loop of this process."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary


class Slots:
    """A semaphore for whichever event loop asks: one of asyncio's own belongs to the loop that used it first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def here(self) -> asyncio.Semaphore:
        """The semaphore of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = asyncio.Semaphore(self._limit)
        return found
