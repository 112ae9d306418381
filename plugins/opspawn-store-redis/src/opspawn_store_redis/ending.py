"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.2


async def end(tasks: Iterable[asyncio.Future[Any] | None]) -> None:
    """Cancel tasks until they have ended: code of others may swallow a cancellation that comes at a bad moment."""
    every = [task for task in tasks if task is not None]
    pending = {task for task in every if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in every:
        if not task.cancelled():
            task.exception()  # somebody must have asked for it, or asyncio complains
