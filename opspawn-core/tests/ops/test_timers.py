"""Sleeping: a moment stays where it is, anything longer holds no slot and survives."""

from __future__ import annotations

import time
from typing import Any

import pytest

from opspawn.contracts.store import TaskState


async def test_a_short_sleep_stays_in_its_slot(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.sleep(0.05)
        return "slept"

    task = await house.run("work")

    assert task.result == "slept"
    assert await house.types(task) == ["task.accepted", "task.claimed", "timer.set", "task.succeeded"]


async def test_a_long_sleep_frees_its_slot_until_it_is_over(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.sleep(1.1)
        return "slept"

    worker = house.worker()
    began = time.time()
    task = await house.submit("work")
    waiting = await house.reaches(task, TaskState.WAITING)
    slots = worker.running
    ended = await house.settled(task)

    assert slots == 0
    assert 1.0 < (waiting.due - waiting.created).total_seconds() < 1.5
    assert ended.result == "slept"
    assert time.time() - began >= 1.1
    assert (await house.types(task)).count("timer.set") == 1


async def test_a_sleep_goes_on_where_it_was_after_a_crash(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.sleep(0.8)
        return "slept"

    worker = house.worker()
    began = time.time()
    task = await house.submit("work")
    await house.until(lambda: _set(house, task))
    await house.kill(worker)
    [timer] = await house.events(task, "timer.set")
    house.worker()
    ended = await house.settled(task)

    assert ended.result == "slept"
    assert time.time() >= timer.data["until"] >= began + 0.8
    assert len(await house.events(task, "timer.set")) == 1


async def test_branches_sleep_beside_each_other(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(nap(ctx, 0.1), nap(ctx, 0.05), ctx.step("quick", lambda: "quick"))

    async def nap(ctx: Any, seconds: float) -> float:
        await ctx.sleep(seconds)
        return seconds

    assert (await house.run("work")).result == [0.1, 0.05, "quick"]


async def test_no_time_at_all_is_a_sleep_too(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.sleep(0)
        await ctx.sleep(-5)
        return "slept"

    assert (await house.run("work")).result == "slept"


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
async def test_a_sleep_without_an_end_is_refused(house: Any, seconds: float) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.sleep(seconds)

    task = await house.run("work")

    assert (task.state, task.error["type"]) == (TaskState.FAILED, "invalid_input")


async def test_a_delayed_task_starts_when_it_is_due(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    house.worker()
    task = await house.submit("work", delay_s=0.3)
    ended = await house.settled(task)

    assert (ended.ended - ended.created).total_seconds() >= 0.3


async def _set(house: Any, task: Any) -> bool:
    return bool(await house.events(task, "timer.set"))
