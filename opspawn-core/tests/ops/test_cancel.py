"""A request to cancel ends a task wherever it is; a result that was committed first stands."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from opspawn import tool
from opspawn.contracts.store import TaskState
from opspawn.errors import InvalidTransition, NotFound, ToolError
from opspawn.ops.engine.engine import Engine


async def test_a_task_that_never_started_ends_at_once_without_a_worker(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.submit("work")
    ended = await house.engine.cancel(task.id)

    assert ended.state is TaskState.CANCELLED
    assert await house.types(task) == ["task.accepted", "task.cancelled"]


async def test_a_running_tool_is_reached(house: Any, count: Any) -> None:
    @tool(effect="read")
    async def wait() -> None:
        count("began")
        try:
            await asyncio.sleep(60)
        finally:
            count("ended")

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.call(wait, {})

    house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["began"] == 1)
    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert count["ended"] == 1


async def test_a_waiting_task_is_reached(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.sleep(3600)

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED


@pytest.mark.parametrize("halt", ["in_doubt", "paused"])
async def test_a_halted_task_is_ended_and_no_longer_tells_of_its_halt(house: Any, count: Any, halt: str) -> None:
    async def pay(n: int) -> None:
        await asyncio.sleep(60)

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("pay", pay, count("work") if halt == "paused" else 0, effect="once")

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: _has(house, task, "step.started"))
    await house.kill(worker)
    house.worker()
    halted = await house.settled(task)
    await house.engine.cancel(task.id)
    ended = await house.reaches(task, TaskState.CANCELLED)

    assert halted.state == halt
    assert ended.error is None


async def test_a_released_task_without_a_worker_is_cancelled_by_the_next_one(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count("work")
        await asyncio.sleep(60)

    worker = house.worker(drain_s=0.0)
    task = await house.submit("work")
    await house.until(lambda: count["work"] == 1)
    await house.stop(worker)
    await house.engine.cancel(task.id)
    house.worker()

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert count["work"] == 1


async def test_a_result_that_was_committed_first_stands(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        return "done"

    task = await house.run("work")

    with pytest.raises(InvalidTransition, match=r"has already succeeded\. There is nothing to cancel"):
        await house.engine.cancel(task.id)
    assert (await house.engine.task(task.id)).result == "done"


async def test_a_result_committed_after_the_request_stands(house: Any, unreliable: Any) -> None:
    """The request comes while the worker commits the end."""
    asked = asyncio.Event()

    class CancelsFirst:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "task.succeeded" for one in batch.operations):
                await house.engine.cancel(task.id)
                asked.set()
            return await house.store.commit(batch)

    @house.function
    async def work(ctx: Any) -> str:
        return "done"

    task = await house.submit("work")
    house.worker(store=CancelsFirst())
    ended = await house.settled(task)

    assert asked.is_set()
    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, "done")


async def test_a_request_that_comes_while_an_attempt_fails_is_not_slept_over(house: Any) -> None:
    """The next attempt would be in an hour."""
    from opspawn.contracts.run import RetryPolicy

    class CancelsFirst:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "task.retry" for one in batch.operations):
                await house.engine.cancel(task.id)
            return await house.store.commit(batch)

    @house.function
    async def work(ctx: Any) -> None:
        raise ToolError("broke")

    task = await house.submit("work", retry=RetryPolicy(attempts=2, initial_s=3600, max_s=3600, jitter=False))
    house.worker(store=CancelsFirst())

    assert (await house.settled(task)).state is TaskState.CANCELLED


async def test_code_that_swallows_its_cancellation_does_not_decide_how_the_task_ends(house: Any, count: Any) -> None:
    async def nothing() -> None:
        count("acted")

    @house.function
    async def work(ctx: Any) -> str:
        count("began")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            with pytest.raises(Exception, match="has ended"):
                await ctx.step("late", nothing)
        return "I carry on"

    house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["began"] == 1)
    await house.engine.cancel(task.id)
    ended = await house.settled(task)

    assert (ended.state, ended.result) == (TaskState.CANCELLED, None)
    assert count["acted"] == 0


async def test_code_that_swallows_its_park_does_not_decide_either(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.spawn("function/child")
        except BaseException:
            return "gave up"

    @house.function
    async def child(ctx: Any) -> str:
        return "the child's"

    assert (await house.run("work")).result == "the child's"


async def test_code_that_never_ends_is_left_behind_and_cannot_act(
    house: Any, count: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opspawn.ops.run.life.UNWIND_S", 0.2)
    forever = True

    async def act() -> None:
        count("acted")

    @house.function
    async def stubborn(ctx: Any) -> None:
        count("began")
        while forever:
            try:
                await asyncio.sleep(0.01 if count["cancelled"] else 60)
                await ctx.step("act", act)
            except BaseException:
                count("cancelled")

    @house.function
    async def other(ctx: Any) -> str:
        return "served"

    worker = house.worker(slots=1)
    task = await house.submit("stubborn")
    await house.until(lambda: count["began"] == 1)
    await house.engine.cancel(task.id)
    ended = await house.settled(task)
    served = await house.run("other")
    forever = False

    assert ended.state is TaskState.CANCELLED
    assert served.result == "served"
    assert count["acted"] == 0
    await house.until(lambda: worker.running == 0)


async def test_a_blocked_thread_does_not_hold_up_a_cancel(house: Any, count: Any) -> None:
    """A plain function runs in a thread, which nothing can interrupt: its result is dropped."""

    def slow() -> str:
        count("began")
        time.sleep(0.3)
        return "too late"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("slow", slow)

    house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["began"] == 1)
    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert not await house.events(task, "step.done")


async def test_to_cancel_twice_does_no_harm(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.sleep(3600)

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    answers = await asyncio.gather(*(house.engine.cancel(task.id) for _ in range(5)), return_exceptions=True)
    ended = await house.settled(task)

    assert ended.state is TaskState.CANCELLED
    assert all(isinstance(answer, InvalidTransition) or not isinstance(answer, Exception) for answer in answers)
    assert (await house.types(task)).count("task.cancelled") == 1


async def test_an_unknown_task_cannot_be_cancelled(house: Any) -> None:
    with pytest.raises(NotFound, match="There is no task 't-none'"):
        await house.engine.cancel("t-none")


async def _has(house: Any, task: Any, type: str) -> bool:
    return type in await house.types(task)


async def test_a_request_that_comes_just_when_a_run_halts_ends_it_all_the_same(house: Any, count: Any) -> None:
    """Named guard: the second look of a cancel. The task was running when it was looked at, and in doubt when told."""

    async def pay() -> None:
        count("pay")
        await asyncio.sleep(60)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("pay", pay, effect="once")

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    running = await house.engine.task(task.id)
    await house.kill(worker)
    house.worker()
    await house.settled(task)

    class LooksLate:
        """Says once more what was true before."""

        seen = False

        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def get_task(self, id: str) -> Any:
            first, self.seen = not self.seen, True
            return running if first else await house.store.get_task(id)

    await Engine(LooksLate(), house.waker, lambda _, given: given).cancel(task.id)  # type: ignore[arg-type]
    await house.reaches(task, TaskState.CANCELLED)

    assert count["pay"] == 1
