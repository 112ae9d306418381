"""Looks whether the server still has what this process saw, also while it asks for nothing; and tells of it if not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from loguru import logger

from opspawn import details
from opspawn.contracts.events import Event, NewEvent
from opspawn.contracts.store import Append, Batch, EventQuery, Receipt
from opspawn.errors import StoreError
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.ending import end
from opspawn_store_redis.functions import Function

_EVERY_S = 1.0


class Watch:
    """The watch over one store; begins in the running loop, which is that of the store.

    Args:
        commit, events: those of the store.
    """

    def __init__(
        self,
        calls: Calls,
        layout: int,
        commit: Callable[[Batch], Awaitable[Receipt]],
        events: Callable[[EventQuery], Awaitable[list[Event]]],
    ) -> None:
        self._calls = calls
        self._layout = layout
        self._commit = commit
        self._events = events
        self._untold: str | None = None
        self._suspected = asyncio.Event()
        self._work = asyncio.create_task(self._run(), name="opspawn-redis-watch")
        self._led = asyncio.create_task(self._follow(), name="opspawn-redis-led") if calls.config.sentinels else None

    def suspect(self) -> None:
        """Look soon: a reply told of another era, or counted less. From any thread."""
        if not self._calls.closed:
            self._calls.home.call_soon_threadsafe(self._suspected.set)

    async def look(self, by: Function = "era") -> None:
        """Ask the server what it still has; by "probe" also whether it takes writes. Raises: StoreError: not so."""
        mark = self._calls.watermark
        seen = mark.since
        if mark.learn(seen, await self._calls.ask_era(mark.words(seen, self._layout), by=by)):
            self._untold = str(mark.alarm)
            logger.bind(error_type="store_went_back").error("{} What was done since may be done again.", mark.alarm)
            self.suspect()  # to have it journaled

    async def alarm(self) -> str | None:
        """What this process saw that is lost, unless somebody has acknowledged it since. Raises: StoreError."""
        mark = self._calls.watermark
        if mark.alarm is not None and self._untold is None:
            query = EventQuery(types=("store.acknowledged",), position=mark.alarmed_at, limit=1, newest=True)
            if await self._events(query):
                mark.alarm = None
        return mark.alarm

    async def told(self) -> str | None:
        """The newest loss that any process told of and nobody has acknowledged. Raises: StoreError."""
        query = EventQuery(types=("store.went_back", "store.acknowledged"), limit=1, newest=True)
        for event in await self._events(query):
            if event.type == "store.went_back":
                return str(event.data.get("message", "The store went back in time."))
        return await self.alarm()

    async def _run(self) -> None:
        mark = self._calls.watermark
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._suspected.wait(), _EVERY_S)
            try:
                await self._turn()
            except StoreError as error:
                details.debug("The store could not be looked at for a moment: {}", error, error_type=error.error_type)
                await asyncio.sleep(_EVERY_S)
            mark.compared = False

    async def _follow(self) -> None:
        """Beside the rest, which may wait for the very server that is to be left."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._calls.follow()  # guard: little is written to a server from which others were led away

    async def _turn(self) -> None:
        if self._suspected.is_set():
            self._suspected.clear()
            await self.look()
        elif not self._calls.watermark.compared:  # guard: also a process that only reads, or does nothing, notices
            await self._calls.compare()
        if self._untold is not None:
            event = NewEvent("store.went_back", {"message": self._untold}, "error", "store_went_back")
            await self._commit(Batch([Append(None, event)]))
            self._untold = None
        await self.alarm()

    async def aclose(self) -> None:
        """End. Idempotent."""
        await end((self._work, self._led))
