"""When no attempt is left, another handler is asked, and its result is the task's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import App
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput, NotFound, ToolError
from opspawn.host import Host
from opspawn.testing import crash_everywhere, virtual_time
from opspawn.testing.invariants import find_violations

AT_ONCE = RetryPolicy(attempts=2, initial_s=0.0, jitter=False)


@pytest.fixture
def breaks(house: Any, count: Any) -> Any:
    """function/work breaks; function/backup tells what it got."""

    @house.function
    async def work(ctx: Any) -> Any:
        count("work")
        raise ToolError("the work broke")

    @house.function
    async def backup(ctx: Any) -> Any:
        count("backup")
        return {"got": ctx.input}

    return house


async def test_the_fallback_is_asked_after_the_last_attempt_and_its_result_counts(breaks: Any, count: Any) -> None:
    """Named guard: a fallback before the end."""
    task = await breaks.run("work", {"n": 1}, retry=AT_ONCE, fallback="function/backup")

    assert (task.state, task.error, task.attempt) == (TaskState.SUCCEEDED, None, 2)
    assert task.result["got"]["input"] == {"n": 1}
    error = task.result["got"]["error"]
    assert (error["type"], error["message"]) == ("tool_error", "the work broke")
    assert (error["task"], error["handler"]) == (task.id, "function/work")
    assert (count["work"], count["backup"]) == (2, 1)
    [event] = await breaks.events(task, "task.fallback")
    [child] = await breaks.children(task)
    assert (event.data["handler"], event.data["child"], event.data["attempt"]) == ("function/backup", child.id, 2)
    assert not find_violations([task, child], await breaks.events(task) + await breaks.events(child))


async def test_without_a_failure_it_is_not_asked(breaks: Any, count: Any) -> None:
    task = await breaks.run("backup", 1, fallback="function/work")

    assert (task.state, count["work"]) == (TaskState.SUCCEEDED, 0)


async def test_if_it_fails_too_both_errors_are_told(breaks: Any, count: Any) -> None:
    @breaks.function
    async def worse(ctx: Any) -> Any:
        raise ToolError("the backup broke")

    task = await breaks.run("work", retry=AT_ONCE, fallback="function/worse")

    assert (task.state, task.attempt) == (TaskState.FAILED, 2)
    assert task.error["message"] == "the work broke Its fallback function/worse failed, too: the backup broke"
    assert task.error["type"] == "tool_error"
    assert task.error["fallback"]["error"]["message"] == "the backup broke"
    [child] = await breaks.children(task)
    assert task.error["fallback"]["task"] == child.id


async def test_a_child_has_one_too(breaks: Any, count: Any) -> None:
    @breaks.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/work", 5, fallback="function/backup")

    task = await breaks.run("parent")

    assert task.result["got"]["input"] == 5


async def test_a_fallback_that_does_not_exist_is_refused_before_anything_fails(breaks: Any, count: Any) -> None:
    @breaks.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/work", fallback="function/nobody")

    with pytest.raises(NotFound, match="function/nobody"):
        await breaks.submit("work", fallback="function/nobody")
    task = await breaks.run("parent")
    assert task.error["type"] == "not_found"
    assert count["work"] == 0


async def test_a_fallback_that_cannot_take_the_input_is_refused_with_the_reason(breaks: Any) -> None:
    def accepts(handler: str, input: Any) -> Any:
        if handler == "function/backup":
            raise InvalidInput("inputs.error: there is no such input.")
        return input

    breaks.engine._accepts = accepts

    with pytest.raises(InvalidInput, match=r"The fallback 'function/backup' cannot take over: inputs\.error"):
        await breaks.submit("work", fallback="function/backup")


async def test_to_cancel_the_task_cancels_its_fallback(breaks: Any, count: Any) -> None:
    @breaks.function
    async def slow(ctx: Any) -> Any:
        count("slow")
        await ctx.sleep(60)

    breaks.worker()
    task = await breaks.submit("work", fallback="function/slow")
    await breaks.until(lambda: count["slow"] == 1)
    await breaks.engine.cancel(task.id)
    ended = await breaks.settled(task)
    [child] = await breaks.children(task)

    assert ended.state is child.state is TaskState.CANCELLED


async def test_children_that_still_run_are_ended_before(breaks: Any, count: Any) -> None:
    @breaks.function
    async def slow(ctx: Any) -> Any:
        began.set()
        await ctx.sleep(60)

    @breaks.function
    async def parent(ctx: Any) -> Any:
        async def fail() -> None:
            await began.wait()
            raise ToolError("broke")

        return await ctx.gather(ctx.spawn("function/slow"), ctx.step("fail", fail))

    began = asyncio.Event()
    task = await breaks.run("parent", fallback="function/backup")
    [left, backup] = await breaks.children(task)

    assert task.state is TaskState.SUCCEEDED
    assert backup.state is TaskState.SUCCEEDED
    assert (await breaks.settled(left)).state is TaskState.CANCELLED


async def test_a_retry_of_a_task_that_failed_twice_begins_with_its_own_code(breaks: Any, count: Any) -> None:
    @breaks.function
    async def worse(ctx: Any) -> Any:
        raise ToolError("the backup broke")

    worker = breaks.worker()
    failed = await breaks.run("work", fallback="function/worse")
    await breaks.stop(worker)

    async def mended(ctx: Any) -> str:
        return "mended"

    breaks.functions["work"] = mended
    breaks.worker()
    ended = await breaks.settled(await breaks.engine.retry(failed.id))

    assert (ended.retry_of, ended.result) == (failed.id, "mended")


@virtual_time
async def test_a_fallback_survives_a_crash_at_each_of_its_writes() -> None:
    async def work(ctx: Any) -> Any:
        raise ToolError("no way")

    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/work", fallback="function/backup")

    async def backup(ctx: Any) -> Any:
        return await ctx.step("b", lambda: 2)

    async def scenario(host: Host) -> Task:
        task = await host.submit("function/parent")
        return await host.wait(task.id, 1e6)

    app = App(functions={"work": work, "parent": parent, "backup": backup})

    runs = await crash_everywhere(app, scenario)

    assert runs[0].answer[1] == 2
    assert len(runs) > 20
