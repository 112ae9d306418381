"""A tree of tasks has one deadline: past it, everything under the root ends, and then the root fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.lifecycle import RegisteredAgent
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Batch, Query, SetLane, TaskState
from opspawn.errors import InvalidInput, ToolError
from opspawn.ops.agents.moves import written
from opspawn.ops.agents.records import Kept
from opspawn.ops.overdue import keep_deadlines


class HourAhead:
    """The clock of a process that is wrong."""

    virtual = False
    monotonic = staticmethod(SYSTEM_CLOCK.monotonic)

    def time(self) -> float:
        return SYSTEM_CLOCK.time() + 3600


async def test_a_running_task_that_is_past_its_deadline_fails(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count("began")
        await asyncio.sleep(60)

    task = await house.run("work", deadline_s=0.2, retry=RetryPolicy(attempts=5, initial_s=0.0))

    assert (task.state, task.error["type"], task.attempt) == (TaskState.FAILED, "timeout", 1)
    assert task.error["message"] == "The task did not end before its deadline."
    assert count["began"] == 1  # another attempt would be too late


@pytest.mark.parametrize("what", ["sleep", "signal", "question", "retry"])
async def test_a_parked_task_wakes_at_its_deadline(house: Any, what: str) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        if what == "sleep":
            await ctx.sleep(3600)
        if what == "signal":
            await ctx.wait("go")
        if what == "question":
            await ctx.ask("Well?", timeout_s=3600, default="no")
        raise ToolError("broke")

    house.worker()
    later = RetryPolicy(attempts=2, initial_s=3600, max_s=3600, jitter=False)
    task = await house.submit("work", deadline_s=0.3, retry=later)
    waiting = await house.reaches(task, TaskState.WAITING)
    ended = await house.settled(task)

    assert waiting.due == waiting.deadline or abs(waiting.due - waiting.deadline) < timedelta(seconds=0.2)
    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "timeout")


async def test_children_inherit_the_deadline_and_end_before_their_parent(house: Any) -> None:
    """One child runs, one is parked, one is queued behind others, one has a child of its own."""

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.spawn("function/child", n) for n in range(6)))

    @house.function
    async def child(ctx: Any) -> None:
        if ctx.input == 0:
            await ctx.sleep(3600)
        if ctx.input == 1:
            await ctx.spawn("function/child", 0)
        await asyncio.sleep(60)

    house.worker(slots=2)
    task = await house.submit("parent", deadline_s=0.8)
    ended = await house.settled(task)
    children = await house.children(task)
    [grandchild] = await house.children(children[1])

    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "timeout")
    assert [child.deadline for child in [*children, grandchild]] == [ended.deadline] * 7
    assert all(child.state.terminal for child in [*children, grandchild])
    assert all(child.ended <= ended.ended for child in [*children, grandchild])
    assert {child.state for child in children} <= {TaskState.CANCELLED, TaskState.FAILED}


async def test_a_parent_past_its_deadline_waits_for_children_that_are_slow_to_end(house: Any) -> None:
    """It parks once; due at a deadline that has passed, it would be claimed again and again until they end."""

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child", None)

    @house.function
    async def child(ctx: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)

    house.worker()
    task = await house.submit("parent", deadline_s=0.3)
    ended = await house.settled(task)
    claims = [event for event in await house.events(task) if event.type == "task.claimed"]

    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "timeout")
    assert len(claims) <= 4  # begin, deadline, news of its request, end


async def test_a_queued_task_that_is_past_its_deadline_does_not_begin(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count("began")

    task = await house.submit("work", deadline_s=0.05)
    await asyncio.sleep(0.1)
    house.worker()
    ended = await house.settled(task)

    assert (ended.state, ended.error["type"], count["began"]) == (TaskState.FAILED, "timeout", 0)


async def test_a_task_that_was_paused_past_its_deadline_fails_when_it_is_resumed(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.wait("go")

    house.worker()
    task = await house.reaches(await house.submit("work", deadline_s=0.2), TaskState.WAITING)
    await house.engine.pause(task.id)
    await asyncio.sleep(0.3)
    still = (await house.engine.task(task.id)).state
    await house.engine.resume(task.id)
    ended = await house.settled_for_good(task)

    assert still is TaskState.PAUSED
    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "timeout")


async def test_a_paused_tree_ends_at_its_deadline(house: Any) -> None:
    """Nobody claims what is paused: a process looks now and then, and the time of the store counts, not its own."""

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> None:
        await ctx.wait("go")

    house.worker()
    tasks = [await house.submit("parent", deadline_s=seconds) for seconds in (0.6, 3600, None)]
    await house.until(lambda: _waiting(house, 6))
    for task in tasks:
        await house.engine.pause(task.id)
    await house.store.commit(Batch([SetLane("function/parent", False)]))  # its agent is paused, too
    keeping = asyncio.create_task(keep_deadlines(house.store, house.waker, "me", HourAhead(), every_s=0.05))
    await house.until(lambda: _has_failed(house, tasks[0]))
    keeping.cancel()
    [child_of_it] = await house.children(tasks[0])
    states = [(await house.engine.task(task.id)).state for task in tasks]

    assert states == [TaskState.FAILED, TaskState.PAUSED, TaskState.PAUSED]
    assert (await house.engine.task(tasks[0].id)).error["message"] == "The task did not end before its deadline."
    assert child_of_it.state.terminal


async def test_tasks_of_an_agent_that_gets_no_work_end_at_their_deadline(house: Any) -> None:
    @house.function
    async def helper(ctx: Any) -> None:
        await ctx.wait("go")

    house.handlers = {"agent/helper": helper}
    house.worker()
    asked = [(seconds, await house.engine.submit("agent/helper", deadline_s=seconds)) for seconds in (0.8, 3600, None)]
    await house.until(lambda: _waiting(house, 3))
    kept = Kept(RegisteredAgent("helper", "helper", local=True), paused=datetime.now(UTC))
    await house.store.commit(Batch(written(kept)))
    asked += [(seconds, await house.engine.submit("agent/helper", deadline_s=seconds)) for seconds in (0.1, 3600, None)]
    keeping = asyncio.create_task(keep_deadlines(house.store, house.waker, "me", HourAhead(), every_s=0.05))
    for seconds, task in asked:
        if seconds is not None and seconds < 1:
            await house.until(lambda task=task: _has_failed(house, task))
    keeping.cancel()
    states = [(await house.engine.task(task.id)).state for _, task in asked]

    assert states == [TaskState.FAILED, *[TaskState.WAITING] * 2, TaskState.FAILED, *[TaskState.QUEUED] * 2]
    assert (await house.engine.task(asked[3][1].id)).error["message"] == "The task did not end before its deadline."


async def _waiting(house: Any, many: int) -> bool:
    return len((await house.store.find_tasks(Query(where={"state": "waiting"}, limit=200))).items) == many


async def _has_failed(house: Any, task: Any) -> bool:
    return (await house.engine.task(task.id)).state is TaskState.FAILED


async def test_a_task_that_ends_in_time_is_not_touched(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        await ctx.sleep(0.01)
        return "in time"

    assert (await house.run("work", deadline_s=60)).result == "in time"


async def test_a_new_generation_has_as_much_time_as_the_first(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        raise ToolError("broke")

    task = await house.run("work", deadline_s=60)
    again = await house.engine.retry(task.id)

    assert again.deadline > task.deadline
    assert abs((again.deadline - again.created).total_seconds() - 60) < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"deadline_s": 0}, "deadline_s is 0; seconds above 0"),
        ({"deadline_s": float("nan")}, "deadline_s is nan"),
        ({"timeout_s": -1}, "timeout_s is -1"),
        ({"idle_timeout_s": 0}, "idle_timeout_s is 0"),
        ({"delay_s": -1}, "delay_s is -1"),
        ({"delay_s": 60, "deadline_s": 30}, "starts after 60 s cannot end within 30 s"),
    ],
)
async def test_a_time_that_makes_no_sense_is_refused(house: Any, options: dict[str, Any], words: str) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    with pytest.raises(InvalidInput, match=words):
        await house.submit("work", **options)
