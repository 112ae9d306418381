"""Tasks by their ids: all that are asked for while a look is under way are looked at together by the next one."""

from __future__ import annotations

import asyncio
from typing import Any

from opspawn_store_redis import decoding
from opspawn_store_redis.calls import Calls

_AT_ONCE = 128


class Lookups:
    """Looks at tasks, from any event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._work: asyncio.Task[None] | None = None

    async def task(self, id: str) -> decoding.Row | None:
        """A task as `decoding.task` reads it, or None. Raises: StoreError."""
        if asyncio.get_running_loop() is self._calls.home:
            packed = await asyncio.shield(self._ask(id))
        else:
            packed = await self._calls.fetch("GET", f"t:{id}")
        if packed is None:
            return None
        row = decoding.fields(packed)
        if decoding.is_whole(row):
            row["id"] = id
            return row
        (raw,) = await self._calls.read("read", "tasks", id)  # with what lies beside it, at the same moment
        return None if raw == 0 else decoding.row(raw)

    def _ask(self, id: str) -> asyncio.Future[Any]:
        future = self._waiting.get(id)
        if future is None:
            future = self._waiting[id] = self._calls.home.create_future()
            if self._work is None:
                self._work = self._calls.home.create_task(self._look(), name="opspawn-redis-lookups")
        return future

    async def _look(self) -> None:
        try:
            while self._waiting:
                some = {id: self._waiting.pop(id) for id in list(self._waiting)[:_AT_ONCE]}
                try:
                    found = await self._calls.fetch_many("MGET", [f"t:{id}" for id in some])
                except Exception as error:
                    for future in some.values():
                        future.set_exception(error)
                        future.exception()  # whoever asked may be gone
                    continue
                for future, row in zip(some.values(), found, strict=True):
                    future.set_result(row)
        finally:
            self._work = None

    async def aclose(self) -> None:
        """Wait until what was asked is answered."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
