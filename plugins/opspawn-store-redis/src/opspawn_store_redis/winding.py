"""A process that stops does not wait for a server that has fallen silent.

While the server answers nothing changes: what is under way is finished, with the usual patience. One that answers
nothing for a while is given up: what waits for it fails at once, and so does all that would still be asked of it. The
leases that could not be given back end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from loguru import logger

from opspawn_store_redis import connections
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.ending import end

_LOOK_EVERY_S = 0.5
_ANSWER_S = 1.0
_SILENT_S = 2.0


class Winding:
    """Looks whether the server answers, from `begin` on, until `aclose`. `held` has what was claimed and not ended."""

    def __init__(self, calls: Calls, held: Collection[str]) -> None:
        self._calls = calls
        self._held = held
        self._work: asyncio.Task[None] | None = None
        self._due: float | None = None

    def begin(self, after_s: float) -> None:
        """Look from so many seconds on, or from when it was said before, if that is sooner. In the home loop."""
        due = self._calls.home.time() + after_s
        if self._calls.closed or (self._due is not None and self._due <= due):
            return
        self._due = due
        if self._work is not None:
            self._work.cancel()
        self._work = asyncio.create_task(self._run(after_s), name="opspawn-redis-winding")

    async def _run(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while loop.time() - answered < _SILENT_S:
            await asyncio.sleep(_LOOK_EVERY_S)  # first: whoever closes at once makes no connection for it
            if await self._answers():
                answered = loop.time()
        logger.bind(error_type="store").warning(
            "The server {} does not answer, and this process stops without it; {}.",
            connections.shown(self._calls.config),
            "its leases end by themselves" if self._held else "it knows of no task that it would have to give back",
        )
        await self._calls.give_up()

    async def _answers(self) -> bool:
        client: Any = connections.async_client(self._calls.config, socket_connect_timeout=_ANSWER_S)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await client.ping()
        except Exception:
            return False
        finally:
            with suppress(Exception):
                await client.aclose()
        return True

    async def aclose(self) -> None:
        """Look no more."""
        await end((self._work,))
