"""A run says that it is alive; one that does not, for too long, has failed its attempt."""

from __future__ import annotations

import asyncio
from typing import Any

from opspawn.contracts.events import TaskDelta
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import TaskState


async def test_listeners_hear_of_progress_and_the_journal_keeps_some_of_it(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        for n in range(50):
            await ctx.progress("counting", done=n, total=50)
        await asyncio.sleep(0.15)
        await ctx.progress("done")

    heard: list[Any] = []

    async def listen() -> None:
        async for item in house.store.tail():
            if isinstance(item, TaskDelta) and item.data.get("kind") == "progress":
                heard.append(item.data)

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.05)
    task = await house.run("work")
    await house.until(lambda: bool(heard) and heard[-1].get("note") == "done")
    listener.cancel()

    assert heard[0] == {"kind": "progress", "note": "counting", "done": 0, "total": 50}
    assert len(heard) < 10
    [kept] = await house.events(task, "task.progress")
    assert kept.data == {"note": "counting", "done": 0, "total": 50}


async def test_an_attempt_without_a_sign_of_life_fails_and_another_follows(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        if count("life") == 1:
            await asyncio.sleep(60)
        return "the second time"

    task = await house.run("work", idle_timeout_s=0.1, retry=RetryPolicy(attempts=2, initial_s=0.0))
    [retry] = await house.events(task, "task.retry")

    assert task.result == "the second time"
    assert retry.data["error"]["message"] == "The task made no progress for 0.1 s."
    assert retry.error_type == "timeout"


async def test_progress_steps_and_waiting_are_signs_of_life(house: Any) -> None:
    async def brief() -> None:
        await asyncio.sleep(0.4)

    @house.function
    async def work(ctx: Any) -> str:
        for _ in range(2):
            await asyncio.sleep(0.4)
            await ctx.progress()
        for _ in range(2):
            await ctx.step("brief", brief)
        await ctx.sleep(1.01)
        await ctx.wait("go")
        return "alive"

    house.worker()
    task = await house.submit("work", idle_timeout_s=1.0)
    await house.until(lambda: _parked(house, task, 2))
    await asyncio.sleep(1.1)
    await house.engine.signal(task.id, "go")

    assert (await house.settled(task)).result == "alive"


async def test_without_attempts_left_the_task_fails(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await asyncio.sleep(60)

    task = await house.run("work", idle_timeout_s=0.1)

    assert (task.state, task.error["type"]) == (TaskState.FAILED, "timeout")


async def _parked(house: Any, task: Any, times: int) -> bool:
    return (await house.types(task)).count("task.waiting") >= times
