"""An operator lets a task stand still, and go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from opspawn.contracts.store import Query, TaskState
from opspawn.errors import InvalidTransition


async def test_a_queued_task_is_paused_at_once_and_runs_when_it_is_resumed(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> int:
        return count("work")

    task = await house.submit("work")
    paused = await house.engine.pause(task.id, by="ada")
    worker = house.worker()
    await asyncio.sleep(0.1)
    ran = count["work"], worker.running
    await house.engine.resume(task.id, by="bob")
    ended = await house.settled_for_good(task)

    assert (paused.state, paused.error["message"]) == (TaskState.PAUSED, "ada paused it.")
    assert ran == (0, 0)
    assert (ended.result, ended.error) == (1, None)
    assert await house.types(task) == [
        "task.accepted",
        "task.paused",
        "task.resumed",
        "task.claimed",
        "task.succeeded",
    ]


async def test_a_delayed_task_does_not_start_earlier_for_having_been_paused(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.submit("work", delay_s=3600)
    await house.engine.pause(task.id)
    resumed = await house.engine.resume(task.id)

    assert abs((resumed.due - task.due).total_seconds()) < 5


async def test_a_waiting_task_is_paused_at_once_and_misses_nothing(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.wait("go"), await ctx.spawn("function/child")]

    @house.function
    async def child(ctx: Any) -> str:
        return "child"

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.pause(task.id)
    await house.engine.signal(task.id, "go", 1)
    await asyncio.sleep(0.1)
    before = await house.engine.task(task.id)
    await house.engine.resume(task.id)

    assert before.state is TaskState.PAUSED
    assert (await house.settled_for_good(task)).result == [1, "child"]


async def test_a_running_task_stops_at_its_next_step_and_keeps_its_journal(house: Any, count: Any) -> None:
    go = asyncio.Event()

    async def act(name: str) -> str:
        count(name)
        await go.wait()
        return name

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("first", act, "first"), await ctx.step("second", act, "second")]

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["first"] == 1)
    await house.engine.pause(task.id)
    await asyncio.sleep(0.2)
    still = (await house.engine.task(task.id)).state
    go.set()
    paused = await house.reaches(task, TaskState.PAUSED)
    await house.until(lambda: worker.running == 0)
    ran = count["second"]
    await house.engine.resume(task.id)
    ended = await house.settled_for_good(task)

    assert (still, paused.attempt, ran) == (TaskState.RUNNING, 0, 0)
    assert ended.result == ["first", "second"]
    assert (count["first"], count["second"]) == (1, 1)


async def test_a_pause_that_comes_while_a_run_parks_is_not_slept_over(house: Any) -> None:
    class PausesFirst:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "task.waiting" for one in batch.operations):
                await house.engine.pause(task.id)
            return await house.store.commit(batch)

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.sleep(3600)

    task = await house.submit("work")
    house.worker(store=PausesFirst())

    assert (await house.settled(task)).state is TaskState.PAUSED


async def test_a_pause_that_is_taken_back_in_time_does_not_happen(house: Any, count: Any) -> None:
    go = asyncio.Event()

    async def act() -> None:
        count("act")
        await go.wait()

    @house.function
    async def work(ctx: Any) -> str:
        await ctx.step("act", act)
        await ctx.step("act", act)
        return "done"

    house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["act"] == 1)
    await house.engine.pause(task.id)
    await asyncio.sleep(0.2)  # the worker has heard of it
    await house.engine.resume(task.id)
    go.set()

    assert (await house.settled(task)).result == "done"
    assert "task.paused" not in await house.types(task)


async def test_a_paused_task_is_cancelled(house: Any) -> None:
    @house.function
    async def never(ctx: Any) -> None:
        return None

    @house.function
    async def begun(ctx: Any) -> None:
        await ctx.sleep(3600)

    fresh = await house.submit("never")
    await house.engine.pause(fresh.id)
    at_once = await house.engine.cancel(fresh.id)
    house.worker()
    task = await house.reaches(await house.submit("begun"), TaskState.WAITING)
    await house.engine.pause(task.id)
    await house.engine.cancel(task.id)

    assert at_once.state is TaskState.CANCELLED
    assert (await house.reaches(task, TaskState.CANCELLED)).error is None


async def test_time_spent_paused_is_not_the_attempts(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.wait("go")

    house.worker()
    task = await house.reaches(await house.submit("work", timeout_s=0.5), TaskState.WAITING)
    await house.engine.pause(task.id)
    await asyncio.sleep(0.6)
    await house.engine.signal(task.id, "go", 1)
    await house.engine.resume(task.id)

    assert (await house.settled_for_good(task)).result == 1


async def test_what_cannot_be_paused_or_resumed_says_so(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    queued = await house.submit("work")
    with pytest.raises(InvalidTransition, match=r"is queued; only a paused one"):
        await house.engine.resume(queued.id)
    once = await house.engine.pause(queued.id)
    twice = await house.engine.pause(queued.id)
    await house.engine.resume(queued.id)
    house.worker()
    ended = await house.settled_for_good(queued)

    assert once == twice
    with pytest.raises(InvalidTransition, match="has succeeded; there is nothing to pause"):
        await house.engine.pause(ended.id)


async def test_a_pause_reaches_the_whole_tree_and_so_does_its_end(house: Any, count: Any) -> None:
    """One child runs, one waits, one is queued, one is a parent itself; all stand still, and all go on."""
    over = asyncio.Event()

    async def turn() -> bool:
        count("turn")
        await asyncio.sleep(0.01)
        return over.is_set()

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.spawn(f"function/{name}") for name in ("runs", "waits", "middle", "queued")))

    @house.function
    async def runs(ctx: Any) -> Any:
        while not await ctx.step("turn", turn):
            pass
        return "ran"

    @house.function
    async def waits(ctx: Any) -> Any:
        return await ctx.wait("go")

    @house.function
    async def middle(ctx: Any) -> Any:
        return await ctx.spawn("function/waits")

    async def queued(ctx: Any) -> str:
        return "queued"

    worker = house.worker(accepts=_anything)
    task = await house.submit("parent")
    await house.until(lambda: _states(house, task, {"waiting": 4, "running": 1, "queued": 1}))
    await house.until(lambda: count["turn"] > 1)
    await house.engine.pause(task.id, by="ada")
    await house.until(lambda: _states(house, task, {"paused": 6}))
    over.set()
    errors = [one.error for one in await _tree(house, task) if one.parent is not None]
    await house.stop(worker)
    house.function(queued)
    house.worker(accepts=_anything)
    for one in await _tree(house, task):
        if one.handler == "function/waits":
            await house.engine.signal(one.id, "go", "gone")
    turns = count["turn"]
    await asyncio.sleep(0.1)
    still = await _states(house, task, {"paused": 6})
    await house.engine.resume(task.id, by="bob")

    assert still
    assert (await house.settled_for_good(task)).result == ["ran", "gone", "gone", "queued"]
    assert {error["with"] for error in errors} == {task.id}
    assert errors[0]["message"] == f"ada paused {task.id}, and all that belongs to it."
    assert count["turn"] == turns + 1


async def test_what_was_paused_for_itself_stays_paused(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(ctx.spawn("function/child", 0), ctx.spawn("function/child", 1))

    @house.function
    async def child(ctx: Any) -> Any:
        return await ctx.wait("go")

    house.worker()
    task = await house.submit("parent")
    await house.until(lambda: _states(house, task, {"waiting": 3}))
    mine, other = await house.children(task)
    await house.engine.pause(mine.id, by="ada")
    await house.engine.pause(task.id)
    await house.until(lambda: _states(house, task, {"paused": 3}))
    await house.engine.resume(task.id)
    await house.engine.signal(other.id, "go")

    assert (await house.settled_for_good(other)).state is TaskState.SUCCEEDED
    assert (await house.engine.task(mine.id)).state is TaskState.PAUSED
    await house.engine.resume(mine.id)
    await house.engine.signal(mine.id, "go")
    assert (await house.settled_for_good(task)).state is TaskState.SUCCEEDED


async def test_children_made_since_the_pause_was_asked_for_stand_still_too(house: Any, count: Any) -> None:
    """Their parent was in the middle of a step that makes them; whoever asked could not see them."""

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "child.spawned" for one in batch.operations):
                await house.engine.pause(task.id)
            return await house.store.commit(batch)

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> Any:
        await ctx.sleep(3600)

    task = await house.submit("parent")
    house.worker(store=Late())
    await house.until(lambda: _states(house, task, {"paused": 2}))
    await house.engine.cancel(task.id)

    assert (await house.settled_for_good(task)).state is TaskState.CANCELLED


async def test_a_pause_that_is_called_off_while_it_is_written_does_not_last(house: Any) -> None:
    """The worker had looked, and its commit was on its way."""

    class CallsOff:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "task.paused" for one in batch.operations):
                await house.engine.resume(task.id)
            return await house.store.commit(batch)

    over = asyncio.Event()

    async def turn() -> bool:
        await asyncio.sleep(0.01)
        return over.is_set()

    @house.function
    async def work(ctx: Any) -> str:
        while not await ctx.step("turn", turn):
            pass
        return "done"

    task = await house.submit("work")
    house.worker(store=CallsOff())
    await house.reaches(task, TaskState.RUNNING)
    await house.engine.pause(task.id)
    await house.until(lambda: _has_paused(house, task))
    over.set()

    assert (await house.settled_for_good(task)).result == "done"


async def _has_paused(house: Any, task: Any) -> bool:
    return "task.paused" in await house.types(task)


async def test_what_is_about_to_be_cancelled_is_not_paused(house: Any) -> None:
    """Nobody claims a paused task, and so it would never end."""

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.wait("go")

    worker = house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.stop(worker)
    await house.engine.cancel(task.id)
    with pytest.raises(InvalidTransition, match="is about to be cancelled; there is nothing to pause"):
        await house.engine.pause(task.id)
    house.worker()

    assert (await house.settled(task)).state is TaskState.CANCELLED


async def _anything(handler: str, input: Any) -> Any:
    return input


async def _tree(house: Any, task: Any) -> list[Any]:
    return list((await house.store.find_tasks(Query(where={"root": task.id}, limit=200))).items)[::-1]


async def _states(house: Any, task: Any, wanted: dict[str, int]) -> bool:
    return Counter(str(one.state) for one in await _tree(house, task)) == wanted
