"""A task of a handler that no worker here has waits, and is told of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from loguru import logger

from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.store import TaskState
from opspawn.ops import unserved
from opspawn.ops.unserved import tell_unserved


async def test_a_handler_that_nobody_has_is_told_once(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named guard: the look for tasks that nobody takes."""

    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.submit("work")
    monkeypatch.setattr(unserved, "WAITED_S", -1.0)
    lines: list[str] = []
    logger.enable("opspawn")
    sink = logger.add(lines.append, format="{message}", level="WARNING")
    looking = asyncio.create_task(tell_unserved(house.store, ["default"], ["function/other"], SYSTEM_CLOCK, 0.01))
    await house.until(lambda: bool(lines))
    await asyncio.sleep(0.05)
    looking.cancel()
    logger.remove(sink)

    assert len(lines) == 1
    assert f"Task {task.id} waits for a worker that has function/work" in lines[0]
    assert (await house.engine.task(task.id)).state is TaskState.QUEUED


async def test_what_is_served_or_young_is_not(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    await house.submit("work")

    assert await unserved.unserved(house.store, ["default"], ["function/other"]) == {}  # it came just now
    monkeypatch.setattr(unserved, "WAITED_S", -timedelta(seconds=1).total_seconds())
    assert await unserved.unserved(house.store, ["default"], ["function/work"]) == {}
    assert await unserved.unserved(house.store, ["other"], ["function/other"]) == {}
