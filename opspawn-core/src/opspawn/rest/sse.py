"""Server-sent events: one stream of whatever a source yields, kept alive while it yields nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from starlette.responses import StreamingResponse

from opspawn.rest.answers import json_of

T = TypeVar("T")

KEEP_ALIVE_S = 15.0


def event_stream(lines: AsyncIterator[bytes]) -> StreamingResponse:
    """The response that sends these messages."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type="text/event-stream", headers=headers)


def message(event: str, data: Any, id: int | str | None = None) -> bytes:
    """One event; without an id it cannot be resumed from."""
    head = f"id: {id}\n" if id is not None else ""
    return f"{head}event: {event}\ndata: {json_of(data)}\n\n".encode("utf-8", "backslashreplace")


async def messages(
    source: AsyncIterator[T], tell: Callable[[T], bytes | None], *, keep_alive_s: float = KEEP_ALIVE_S
) -> AsyncIterator[bytes]:
    """A greeting, then what `tell` makes of each item, with a comment now and then while there is none."""
    pending = asyncio.ensure_future(anext(source))
    try:
        yield b": connected\n\n"
        while True:
            done, _ = await asyncio.wait({pending}, timeout=keep_alive_s)
            if not done:
                yield b": still here\n\n"
                continue
            try:
                item = pending.result()
            except StopAsyncIteration:
                return
            pending = asyncio.ensure_future(anext(source))
            if (told := tell(item)) is not None:
                yield told
    finally:
        pending.cancel()
