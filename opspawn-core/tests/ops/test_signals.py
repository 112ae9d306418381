"""Messages to a run: each is taken once, in order of arrival, whenever it came."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import TaskState
from opspawn.errors import IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound, StepTimeout, ToolError


async def test_a_run_that_waits_holds_no_slot_and_gets_the_data(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.wait("go")

    worker = house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    slots = worker.running
    await house.engine.signal(task.id, "go", {"n": 1}, by="ada")

    assert slots == 0
    assert (await house.settled(task)).result == {"n": 1}
    [parked] = await house.events(task, "task.waiting")
    [came] = await house.events(task, "signal.received")
    assert parked.data == {"for": "signal go"}
    assert came.data == {"id": came.data["id"], "name": "go", "data": {"n": 1}, "by": "ada"}


async def test_signals_that_came_before_count_and_are_taken_in_order_once(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.wait("n") for _ in range(3)]

    task = await house.submit("work")
    for n in range(3):
        await house.engine.signal(task.id, "n", n)
        await house.engine.signal(task.id, "other", "not this one")
    house.worker()

    assert (await house.settled(task)).result == [0, 1, 2]


async def test_a_repeated_id_is_one_signal(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.wait("n"), await ctx.wait("n")]

    house.worker()
    task = await house.submit("work")
    await house.engine.signal(task.id, "n", "first", id="a")
    await house.reaches(task, TaskState.WAITING)
    await house.engine.signal(task.id, "n", "first", id="a")
    await house.engine.signal(task.id, "n", "second", id="b")

    assert (await house.settled(task)).result == ["first", "second"]


async def test_a_repeated_signal_changes_nothing(house: Any) -> None:
    """Neither the journal nor the wakes: it does not even call the run. So the sender may repeat it until it is told,
    after the end, too."""

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.wait("n"), await ctx.wait("go")]

    worker = house.worker()
    task = await house.submit("work")
    await house.engine.signal(task.id, "n", 1, id="a")
    await house.until(lambda: _waits_for(house, task, "signal go"))
    await house.stop(worker)
    before = [await house.events(task), (await house.engine.task(task.id)).wakes]
    await asyncio.gather(*(house.engine.signal(task.id, "n", 1, id="a") for _ in range(3)))
    after = [await house.events(task), (await house.engine.task(task.id)).wakes]
    house.worker()
    await house.engine.signal(task.id, "go", id="b")
    ended = await house.settled(task)
    again = await house.engine.signal(task.id, "n", 1, id="a")

    assert before == after
    assert (ended.result, again.state) == ([1, None], "succeeded")
    with pytest.raises(InvalidTransition, match="nobody hears the signal 'n' any more"):
        await house.engine.signal(task.id, "n", 1, id="c")


async def test_an_id_is_that_of_one_signal(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any: ...

    task, other = await house.submit("work"), await house.submit("work")
    await house.engine.signal(task.id, "n", 1, id="a")
    await house.engine.signal(other.id, "n", 2, id="a")  # of its own task

    for name, data in (("n", 2), ("m", 1)):
        with pytest.raises(IdempotencyMismatch, match=f"Task {task.id} got another signal with the id 'a' before"):
            await house.engine.signal(task.id, name, data, id="a")


async def _waits_for(house: Any, task: Any, what: str) -> bool:
    return any(event.data == {"for": what} for event in await house.events(task, "task.waiting"))


async def test_branches_that_wait_for_one_name_get_a_signal_each(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.wait("n") for _ in range(3)))

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    for n in range(3):
        await house.engine.signal(task.id, "n", n)

    assert sorted((await house.settled(task)).result) == [0, 1, 2]


async def test_a_signal_reaches_a_run_that_is_busy_in_another_branch(house: Any) -> None:
    """It does not park, so it must hear of the news where it is."""
    done = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(ctx.wait("go"), ctx.step("busy", done.wait))

    house.worker()
    task = await house.submit("work")
    await house.reaches(task, TaskState.RUNNING)
    await house.engine.signal(task.id, "go", 1)
    await house.until(lambda: _has(house, task, "step.done"))
    done.set()

    assert (await house.settled(task)).result == [1, True]
    assert "task.waiting" not in await house.types(task)


async def test_a_taken_signal_is_not_taken_again_after_a_crash(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        first = await ctx.wait("n")
        if count("life") == 1:
            await asyncio.sleep(60)
        return [first, await ctx.wait("n", timeout_s=0.0)]

    worker = house.worker()
    task = await house.submit("work")
    await house.engine.signal(task.id, "n", 1)
    await house.until(lambda: count["life"] == 1)
    await house.kill(worker)
    house.worker()
    ended = await house.settled(task)

    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "timeout")


async def test_a_wait_that_takes_too_long_fails_and_stays_failed(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.wait("go", timeout_s=0.05)
        except StepTimeout as error:
            if count("life") == 1:
                await asyncio.sleep(60)
            return str(error)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["life"] == 1)
    await house.kill(worker)
    await house.engine.signal(task.id, "go", "too late")
    house.worker()

    assert (await house.settled(task)).result == "The signal 'go' did not come in time."


async def test_a_time_out_counts_from_the_first_wait(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.wait("go", timeout_s=3600)

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.signal(task.id, "other")
    await house.until(lambda: _parked(house, task, 2))
    waiting = await house.reaches(task, TaskState.WAITING)

    assert (await house.types(task)).count("signal.awaited") == 1
    assert 3590 < (waiting.due - waiting.created).total_seconds() < 3605


async def test_a_new_attempt_waits_anew(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.wait("go", timeout_s=0.02)

    task = await house.run("work", retry=RetryPolicy(attempts=2, initial_s=0.01, jitter=False))

    assert (task.state, task.attempt) == (TaskState.FAILED, 2)
    assert (await house.types(task)).count("signal.awaited") == 2


async def test_a_signal_does_not_cut_short_the_wait_for_the_next_attempt(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        raise ToolError("broke")

    house.worker()
    task = await house.submit("work", retry=RetryPolicy(attempts=2, initial_s=3600, max_s=3600, jitter=False))
    waiting = await house.reaches(task, TaskState.WAITING)
    await house.engine.signal(task.id, "go")

    assert (await house.engine.task(task.id)).due == waiting.due


async def test_what_was_not_taken_goes_to_the_next_generation(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        first = await ctx.wait("n")
        if count("life") == 1:
            raise ToolError("broke")
        return [first, await ctx.wait("n")]

    task = await house.submit("work")
    for n in range(2):
        await house.engine.signal(task.id, "n", n)
    house.worker()
    await house.settled(task)
    again = await house.engine.retry(task.id)

    assert (await house.settled(again)).result == [0, 1]


async def test_a_signal_to_what_has_ended_or_never_was_is_refused(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.run("work")

    with pytest.raises(InvalidTransition, match="has succeeded; nobody hears the signal 'go' any more"):
        await house.engine.signal(task.id, "go")
    with pytest.raises(NotFound, match="There is no task 't-none'"):
        await house.engine.signal("t-none", "go")


@pytest.mark.parametrize(("name", "data"), [("", 1), ("x" * 201, 1), ("go", float("nan")), ("go", object())])
async def test_a_signal_that_cannot_be_kept_is_refused(house: Any, name: str, data: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.submit("work")

    with pytest.raises(InvalidInput):
        await house.engine.signal(task.id, name, data)


async def test_another_act_at_the_key_of_a_wait_is_a_mismatch(house: Any, count: Any) -> None:
    async def nothing() -> None:
        return None

    @house.function
    async def work(ctx: Any) -> Any:
        if count("life") == 1:
            return await ctx.wait("go", timeout_s=3600, key="k")
        return await ctx.step("other", nothing, key="k")

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.signal(task.id, "go")
    paused = await house.settled(task)

    assert (paused.state, paused.error["type"]) == (TaskState.PAUSED, "journal_mismatch")


async def _has(house: Any, task: Any, type: str) -> bool:
    return type in await house.types(task)


async def _parked(house: Any, task: Any, times: int) -> bool:
    return (await house.types(task)).count("task.waiting") >= times
