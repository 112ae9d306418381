"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.2


async def end(tasks: Iterable[asyncio.Future[Any] | None]) -> None:
    """Cancel tasks until they have ended: code of others may swallow a cancellation that comes at a bad moment.

    Whoever is cancelled meanwhile hears of it afterwards, so that no task is left behind.
    """
    every = [task for task in tasks if task is not None]
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in every if not task.done()}:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_AGAIN_S)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in every:
        if not task.cancelled():
            task.exception()  # somebody must have asked for it, or asyncio complains
    if cancelled is not None:
        raise cancelled
