"""Work that is really stopped when its time is up.

`asyncio.timeout` waits for as long as the work takes to notice that it was cancelled. Work that never does so (a broad
`except` around an await, a library that swallows it) would hold its run for ever. Here it gets a moment; then the run
goes on without it, and the log says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from loguru import logger

from opspawn.errors import StepTimeout

T = TypeVar("T")

#: How long work may take to end once it is cancelled, in seconds; a sandbox ends its processes within it.
GRACE_S = 2.0


async def within(limit_s: float, work: Coroutine[Any, Any, T], what: str, *, grace_s: float = GRACE_S) -> T:
    """Return what the work returns, within `limit_s` seconds; `what` names it, e.g. "The tool 'search'".

    Raises: StepTimeout: time was up; the work was cancelled, and if it ignores that, left to itself after `grace_s`.
        And whatever the work raises.
    """
    task = asyncio.create_task(_caught(work))
    try:
        await asyncio.wait({task}, timeout=limit_s)
    except BaseException:
        await _end(task, what, grace_s)
        raise
    if not task.done():
        left = "" if await _end(task, what, grace_s) else " It ignores being cancelled, and was left to itself."
        raise StepTimeout(f"{what} did not end within {limit_s:g} s.{left}")
    value, error = task.result()
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is one when there is no error


async def _caught(work: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """What became of the work: a task that raises SystemExit would take the whole event loop with it."""
    try:
        return await work, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


async def _end(task: asyncio.Task[Any], what: str, grace_s: float) -> bool:
    """Cancel the work; whether it ended."""
    task.cancel()
    await asyncio.wait({task}, timeout=grace_s)
    if not task.done():
        logger.bind(error_type="timeout").warning("{} ignores being cancelled; it is left to itself.", what)
    return task.done()
