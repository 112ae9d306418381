"""Code that blocks the event loop of its worker is named, in the log and in the journal of its task."""

from __future__ import annotations

import time
from typing import Any

from opspawn.contracts.store import TaskState


async def test_a_task_that_blocks_the_loop_is_told_with_its_stack(house: Any) -> None:
    """Named guard: the watch of the loop."""

    def dawdle() -> str:
        time.sleep(0.9)
        return "done"

    async def act() -> str:
        return dawdle()

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act)

    house.worker(blocked_s=0.2)
    task = await house.run("work")
    [event] = await house.events(task, "task.blocking")

    assert task.state is TaskState.SUCCEEDED
    assert event.error_type == "blocked"
    assert event.data["seconds"] == 0.2
    assert "time.sleep(0.9)" in event.data["where"]
    assert "in dawdle" in event.data["stack"]


async def test_a_task_that_only_waits_or_works_in_a_thread_is_not(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.sleep(0.3)
        return await ctx.step("act", lambda: time.sleep(0.6))

    house.worker(blocked_s=0.2)

    assert await house.events(await house.run("work"), "task.blocking") == []
