"""Tasks form trees: a parent parks while its children run, hears of them, and never leaves them behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Batch, TaskState
from opspawn.errors import InvalidTransition, StepError, ToolError
from opspawn.ops import transitions


async def test_a_parent_gets_the_result_of_its_child(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return ["from the child:", await ctx.spawn("function/child", {"n": 2})]

    @house.function
    async def child(ctx: Any) -> Any:
        return ctx.input["n"] + 1

    task = await house.run("parent", session="s-1", labels={"team": "red"}, priority=3)

    assert task.result == ["from the child:", 3]
    [one] = await house.children(task)
    assert (one.parent, one.root, one.session, one.priority, one.labels) == (task.id, task.id, "s-1", 3, task.labels)


async def test_a_parent_that_waits_for_children_holds_no_slot(house: Any) -> None:
    go = asyncio.Event()

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.spawn("function/child", n) for n in range(3)))

    @house.function
    async def child(ctx: Any) -> Any:
        await go.wait()
        return ctx.input

    worker = house.worker(slots=3)  # with the parent in one of them the third child could not run
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)
    await house.until(lambda: worker.running == 3)
    go.set()

    assert (await house.settled(task)).result == [0, 1, 2]


async def test_a_worker_with_one_slot_runs_a_deep_tree(house: Any) -> None:
    @house.function
    async def level(ctx: Any) -> int:
        return 0 if ctx.input == 0 else 1 + await ctx.spawn("function/level", ctx.input - 1)

    house.worker(slots=1)

    assert (await house.run("level", 20)).result == 20


async def test_a_failed_child_is_told_at_once_and_the_others_are_cancelled(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(ctx.spawn("function/slow"), ctx.spawn("function/bad"))

    @house.function
    async def slow(ctx: Any) -> None:
        await asyncio.sleep(60)

    @house.function
    async def bad(ctx: Any) -> None:
        raise ToolError("broke")

    task = await house.run("parent")

    assert task.state is TaskState.FAILED
    assert (task.error["type"], task.error["message"], task.error["key"]) == (
        "tool_error",
        "broke",
        "gather/1/function/bad",
    )
    slow_child = next(child for child in await house.children(task) if child.handler == "function/slow")
    assert (await house.settled(slow_child)).state is TaskState.CANCELLED


async def test_a_failure_of_a_child_can_be_handled(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        try:
            await ctx.spawn("function/bad")
        except StepError as error:
            return [type(error).__name__, error.error_type, str(error)]

    @house.function
    async def bad(ctx: Any) -> None:
        raise ToolError("broke")

    assert (await house.run("parent")).result == ["StepFailed", "tool_error", "broke"]


async def test_a_cancelled_child_fails_its_spawn(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn("function/slow")

    @house.function
    async def slow(ctx: Any) -> None:
        await asyncio.sleep(60)

    house.worker()
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)
    [child] = await house.children(task)
    await house.engine.cancel(child.id)

    ended = await house.settled(task)

    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, "cancelled")
    assert ended.error["message"] == f"The child {child.id} was cancelled."


async def test_cancel_unwinds_children_first(house: Any) -> None:
    @house.function
    async def level(ctx: Any) -> Any:
        if ctx.input == 0:
            await asyncio.sleep(60)
        await ctx.gather(ctx.spawn("function/level", ctx.input - 1), ctx.spawn("function/level", ctx.input - 1))

    worker = house.worker()
    task = await house.submit("level", 2)
    await house.until(lambda: worker.running == 4)
    await house.engine.cancel(task.id)
    ended = await house.settled(task)

    middle = await house.children(task)
    assert {child.state for child in middle} == {ended.state} == {TaskState.CANCELLED}
    for child in middle:
        leaves = await house.children(child)
        assert all(leaf.state is TaskState.CANCELLED and leaf.ended <= child.ended <= ended.ended for leaf in leaves)


@pytest.mark.parametrize("halt", ["in_doubt", "paused", "retry", "queued"])
async def test_cancel_reaches_children_that_nobody_runs(house: Any, count: Any, halt: str) -> None:
    """One that is in doubt, paused, between two attempts, or not claimed by anyone must not hold up its parent."""

    async def pay(n: int) -> None:
        await asyncio.sleep(60)

    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn("function/child", retry=RetryPolicy(attempts=2, initial_s=60, jitter=False))

    @house.function
    async def child(ctx: Any) -> Any:
        count("child")
        if halt == "retry":
            raise ToolError("broke")
        await ctx.step("pay", pay, count["child"] if halt == "paused" else 0, effect="once")

    if halt == "queued":
        del house.functions["child"]

    async def accepts(handler: str, input: Any) -> Any:
        return input

    worker = house.worker(accepts=accepts)  # it makes children that it does not run itself
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)
    [one] = await house.children(task)
    if halt in ("in_doubt", "paused"):
        await house.until(lambda: _started(house, one))
        await house.kill(worker)
        house.worker()
        await house.settled(one)
    elif halt == "retry":
        await house.reaches(one, TaskState.WAITING)

    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert (await house.engine.task(one.id)).state is TaskState.CANCELLED


async def _started(house: Any, task: Any) -> bool:
    return bool(await house.events(task, "step.started"))


async def test_a_parent_that_retries_a_failed_child_lets_it_keep_what_it_did(house: Any, count: Any) -> None:
    """A new child at the same key inherits the successes of the old one: what was paid is not paid again."""

    async def act(name: str) -> str:
        if count(name) == 1 and name == "ship":
            raise ToolError("no stock")
        return name

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> Any:
        return [await ctx.step("pay", act, "pay", effect="once"), await ctx.step("ship", act, "ship")]

    attempts = await house.run("parent", retry=RetryPolicy(attempts=2, initial_s=0.0))

    assert attempts.result == ["pay", "ship"]
    assert (count["pay"], count["ship"]) == (1, 2)
    first, second = await house.children(attempts)
    assert (first.state, second.state, second.retry_of) == (TaskState.FAILED, TaskState.SUCCEEDED, first.id)


async def test_a_new_generation_keeps_what_its_failed_children_did(house: Any, count: Any) -> None:
    async def act(name: str) -> str:
        if count(name) == 1 and name == "ship":
            raise ToolError("no stock")
        return name

    @house.function
    async def parent(ctx: Any) -> Any:
        good = await ctx.spawn("function/good")
        return [good, await ctx.spawn("function/child")]

    @house.function
    async def good(ctx: Any) -> Any:
        return count("good")

    @house.function
    async def child(ctx: Any) -> Any:
        return [await ctx.step("pay", act, "pay", effect="once"), await ctx.step("ship", act, "ship")]

    failed = await house.run("parent")
    again = await house.settled(await house.engine.retry(failed.id))

    assert again.result == [1, ["pay", "ship"]]
    assert (count["pay"], count["ship"], count["good"]) == (1, 2, 1)


async def test_a_new_child_waits_until_the_one_whose_work_it_inherits_has_ended(house: Any, count: Any) -> None:
    """The old child may still be in the middle of its last effect."""
    go = asyncio.Event()

    async def pay() -> str:
        count("pay")
        for _ in range(300):  # an effect that does not let itself be interrupted
            if go.is_set():
                break
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                count("cancelled")
        return "paid"

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(ctx.spawn("function/child"), ctx.step("bad", bad))

    @house.function
    async def child(ctx: Any) -> Any:
        return await ctx.step("pay", pay)

    async def bad() -> None:
        await house.until(lambda: count["pay"] == 1 or count["bad"] == 1)
        if count("bad") == 1:
            raise ToolError("broke")

    failed = await house.run("parent")
    await house.until(lambda: count["cancelled"] == 1)
    again = await house.engine.retry(failed.id)
    await house.until(lambda: _released(house, again))
    began_meanwhile = count["pay"]
    go.set()
    ended = await house.settled(again)

    assert began_meanwhile == 1
    assert ended.result[0] == "paid"


async def _released(house: Any, task: Any) -> bool:
    children = await house.children(task)
    return bool(children) and "task.released" in await house.types(children[0])


async def test_a_child_that_ends_while_its_parent_is_being_parked_is_not_slept_over(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        try:
            return await ctx.spawn("function/child")
        finally:
            await asyncio.sleep(0.1)  # the child ends meanwhile

    @house.function
    async def child(ctx: Any) -> str:
        return "done"

    assert (await house.run("parent")).result == "done"


async def test_a_child_cannot_be_retried_alone(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn("function/bad")

    @house.function
    async def bad(ctx: Any) -> None:
        raise ToolError("broke")

    task = await house.run("parent")
    [child] = await house.children(task)

    with pytest.raises(InvalidTransition, match=f"belongs to {task.id}. Retry the whole: {task.id}"):
        await house.engine.retry(child.id)


@pytest.mark.parametrize("handler", ["function/none", "none"])
async def test_an_unknown_handler_fails_the_spawn_in_words(house: Any, handler: str) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn(handler)

    task = await house.run("parent")

    assert (task.state, task.error["type"]) == (TaskState.FAILED, "not_found")
    assert "'none'" in task.error["message"]


async def test_an_input_that_is_not_json_fails_the_spawn_in_words(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn("function/parent", object())

    task = await house.run("parent")

    assert (task.state, task.error["type"]) == (TaskState.FAILED, "invalid_input")


async def test_a_thousand_children_by_one_gather(house: Any, count: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return sum(await ctx.gather(*(ctx.spawn("function/child", n) for n in range(1000))))

    @house.function
    async def child(ctx: Any) -> Any:
        count("child")
        return ctx.input

    house.worker(slots=50)
    task = await house.run("parent")

    assert task.result == sum(range(1000))
    assert count["child"] == 1000


async def test_a_parent_can_end_while_its_children_hold_every_slot(house: Any) -> None:
    """It may be cancelled between two of its children, and whoever cancels cannot see those that are still to come."""

    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> Any:
        started.append(ctx.task)
        await asyncio.sleep(60)

    started: list[str] = []
    house.worker(slots=1)
    task = await house.submit("parent")
    await house.until(lambda: bool(started))
    await house.store.commit(Batch(transitions.request_cancel(task.id)))

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert (await house.engine.task(started[0])).state is TaskState.CANCELLED


async def test_a_thousand_children_are_cancelled_with_their_parent(house: Any, count: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        await ctx.gather(*(ctx.spawn("function/child", n) for n in range(1000)))

    @house.function
    async def child(ctx: Any) -> Any:
        count("child")
        await asyncio.sleep(60)

    house.worker(slots=50)
    task = await house.submit("parent")
    await house.until(lambda: count["child"] >= 40)
    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED
    assert count["child"] <= 100
