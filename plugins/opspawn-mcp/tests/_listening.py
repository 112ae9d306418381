"""Apps of servers of the SDK, served on a port with their sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from opspawn.rest.listening import Listener

T = TypeVar("T")


@asynccontextmanager
async def listening(make: Callable[[str], T], port: int = 0) -> AsyncIterator[T]:
    """What `make(address)` gives, served there: it has an `app`, and a `server` whose sessions run meanwhile."""
    listener = Listener("127.0.0.1", port, "test")
    listener.bind()
    made: Any = make(listener.address)
    over, running = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with made.server.session_manager.run():
            running.set()
            await over.wait()

    holding = asyncio.create_task(hold())
    await running.wait()
    await listener.serve(made.app)
    try:
        yield made
    finally:
        over.set()
        await holding
        await listener.stop()
