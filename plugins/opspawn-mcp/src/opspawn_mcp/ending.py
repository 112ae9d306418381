"""Waiting for something to end, also for whoever is cancelled meanwhile: what is half closed would be left behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any


async def ended(task: asyncio.Future[Any], patience_s: float) -> bool:
    """Whether a task has ended within its time. A cancellation counts only once that is over."""
    until, cancelled = time.monotonic() + patience_s, False
    while not task.done() and (left := until - time.monotonic()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return task.done()
