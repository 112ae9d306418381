"""Many children by one `gather`: made in few commits, waited for with few wakes, and made once whatever happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Append, Batch, Put, Task, TaskState
from opspawn.errors import StepError, ToolError

MANY = 300


async def doubled(ctx: Any) -> Any:
    return 2 * ctx.input


async def test_a_parent_is_claimed_a_few_times_however_many_children_it_has(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.spawn("function/doubled", n) for n in range(MANY)))

    house.function(doubled)
    task = await house.run("parent")

    assert task.result == [2 * n for n in range(MANY)]
    assert len(await house.events(task, "task.claimed")) <= 4
    commits = {event.time for event in await house.events(task, "child.spawned")}
    assert len(commits) <= 3


async def test_a_parent_is_not_called_for_each_child_that_ends(house: Any) -> None:
    """They end one after the other, with time enough between them to call the parent."""
    gates = [asyncio.Event() for _ in range(12)]

    @house.function
    async def parent(ctx: Any) -> Any:
        return len(await ctx.gather(*(ctx.spawn("function/child", n) for n in range(len(gates)))))

    @house.function
    async def child(ctx: Any) -> None:
        await gates[ctx.input].wait()

    house.worker()
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)
    for number, gate in enumerate(gates, start=1):
        gate.set()
        await house.until(partial(_heard, house, task, number))
        await asyncio.sleep(0.02)
    ended = await house.settled(task)

    assert ended.result == len(gates)
    assert len(await house.events(task, "task.claimed")) <= 3


async def _heard(house: Any, task: Task, number: int) -> bool:
    return len(await house.events(task, "child.ended")) >= number


async def test_two_lives_of_a_parent_make_one_child(house: Any) -> None:
    """Named guard: the second line behind the fence. The first life's commit comes late, and no fence refuses it: but
    the child that it would make has the id of the one that is there."""
    go, began = asyncio.Event(), asyncio.Event()

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if any(getattr(getattr(one, "event", None), "type", "") == "child.spawned" for one in batch.operations):
                began.set()
                await go.wait()
                unfenced = [replace(one, token=None) if isinstance(one, Append) else one for one in batch.operations]
                batch = Batch(unfenced)
            return await house.store.commit(batch)

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/doubled", 21)

    house.function(doubled)
    first = house.worker(store=Late(), slots=1)  # or it would claim the task again itself
    task = await house.submit("parent")
    await began.wait()
    await house.lapse(first)
    house.worker()
    ended = await house.settled(task)
    made = await house.children(task)
    go.set()
    await house.stop(first)

    assert ended.result == 42
    assert await house.children(task) == made
    assert len(made) == 1


async def test_a_run_that_waits_in_several_places_goes_on_where_it_can_first(house: Any) -> None:
    """Three children of one branch and one of another: the single one must not wait for the three."""
    go = asyncio.Event()

    @house.function
    async def parent(ctx: Any) -> Any:
        async def single() -> Any:
            value = await ctx.spawn("function/quick")
            return await ctx.step("after", after, value)

        async def after(value: str) -> str:
            go.set()
            return value

        return await ctx.gather(ctx.gather(*(ctx.spawn("function/slow") for _ in range(3))), single())

    @house.function
    async def slow(ctx: Any) -> str:
        await go.wait()
        return "slow"

    @house.function
    async def quick(ctx: Any) -> str:
        return "quick"

    assert (await house.run("parent")).result == [["slow"] * 3, "quick"]


async def test_a_signal_reaches_a_run_that_also_waits_for_many_children(house: Any) -> None:
    go = asyncio.Event()

    @house.function
    async def parent(ctx: Any) -> Any:
        async def signalled() -> Any:
            value = await ctx.wait("hurry")
            go.set()
            return value

        return await ctx.gather(ctx.gather(*(ctx.spawn("function/slow") for _ in range(3))), signalled())

    @house.function
    async def slow(ctx: Any) -> str:
        await go.wait()
        return "slow"

    house.worker()
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)
    await house.engine.signal(task.id, "hurry", {"n": 1})

    assert (await house.settled(task)).result == [["slow"] * 3, {"n": 1}]


async def test_children_and_other_branches_keep_their_places_and_keys(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        async def step() -> Any:
            return await ctx.step("one", one)

        async def one() -> str:
            return "one"

        spawn = ctx.spawn
        return await ctx.gather(spawn("function/doubled", 1), step(), spawn("function/doubled", 2, key="second"))

    house.function(doubled)
    task = await house.run("parent")

    assert task.result == [2, "one", 4]
    keys = [event.data["key"] for event in await house.events(task, "child.spawned")]
    assert keys == ["gather/0/function/doubled", "gather/2/second"]


async def test_the_first_failure_ends_the_wait_for_all_others(house: Any) -> None:
    """The parent is called at once, and not when as many have ended as it waits for."""

    @house.function
    async def parent(ctx: Any) -> Any:
        try:
            await ctx.gather(*(ctx.spawn("function/child", n) for n in range(40)))
        except StepError as error:
            return [str(error), error.key]

    @house.function
    async def child(ctx: Any) -> None:
        if ctx.input == 7:
            raise ToolError("broke")
        await asyncio.sleep(60)

    task = await house.run("parent")

    assert task.result == ["broke", "gather/7/function/child"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_fan_out_that_was_cut_off_is_finished_and_not_repeated(
    house: Any, unreliable: Any, count: Any, when: str
) -> None:
    """The second commit of three fails, or its reply is lost."""
    seen = []

    def fails(batch: Batch) -> str | None:
        makes = sum(
            isinstance(one, Put) and isinstance(one.record, Task) and one.expect == 0 for one in batch.operations
        )
        seen.append(makes)
        return when if makes and sum(map(bool, seen)) == 2 else None

    @house.function
    async def parent(ctx: Any) -> Any:
        return sum(await ctx.gather(*(ctx.spawn("function/child", n) for n in range(400))))

    @house.function
    async def child(ctx: Any) -> Any:
        count(str(ctx.input))
        return ctx.input

    task = await house.submit("parent")
    unreliable.fails = fails
    house.worker(store=unreliable)

    assert (await house.settled(task)).result == sum(range(400))
    assert sorted(count.calls) == sorted(str(n) for n in range(400))


async def test_large_inputs_are_parted_among_commits(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return sum(await ctx.gather(*(ctx.spawn("function/length", "x" * 700_000) for _ in range(9))))

    @house.function
    async def length(ctx: Any) -> int:
        return len(ctx.input)

    assert (await house.run("parent")).result == 9 * 700_000


async def test_a_child_that_is_unknown_or_too_large_fails_its_gather_before_any_is_made(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        try:
            await ctx.gather(ctx.spawn("function/doubled", 1), ctx.spawn("function/nobody"))
        except LookupError as error:
            return str(error)

    house.function(doubled)
    task = await house.run("parent")

    assert "nobody" in (task.result or task.error["message"])
    assert await house.children(task) == []


async def test_a_child_that_fails_does_not_cut_short_the_wait_for_the_next_attempt(house: Any) -> None:
    """A failure calls its parent at once; a parent that rests between two attempts goes on resting."""
    fail = asyncio.Event()

    @house.function
    async def parent(ctx: Any) -> Any:
        async def broken() -> None:
            await ctx.step("wait", house.until, lambda: child_runs.is_set())
            raise ToolError("first attempt")

        if not fail.is_set():
            await ctx.gather(ctx.spawn("function/child"), broken())
        return "second attempt"

    child_runs = asyncio.Event()

    @house.function
    async def child(ctx: Any) -> None:
        child_runs.set()
        await fail.wait()
        raise ToolError("child")

    house.worker()
    policy = RetryPolicy(attempts=2, initial_s=1.0, jitter=False)
    task = await house.submit("parent", retry=policy, timeout_s=30)
    await house.until(lambda: _has(house, task, "task.retry"))
    fail.set()
    ended = await house.settled(task)

    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, "second attempt")
    [retry] = await house.events(task, "task.retry")
    last = (await house.events(task, "task.claimed"))[-1]
    assert (last.time - retry.time).total_seconds() >= 1.0
    assert [event.data["for"] for event in await house.events(task, "task.waiting")].count("the next attempt") == 1


async def _has(house: Any, task: Task, type: str) -> bool:
    return bool(await house.events(task, type))


async def test_a_spawn_is_a_coroutine_in_every_respect(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        ctx.spawn("function/doubled", 0, key="closed").close()
        task = asyncio.create_task(ctx.spawn("function/doubled", 1, key="task"))
        awaited = ctx.spawn("function/doubled", 2)
        results = [await awaited, await ctx.join(task)]
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await awaited
        with pytest.warns(RuntimeWarning, match="'function/doubled'.* was never awaited"):
            ctx.spawn("function/doubled", 3)
        return results

    house.function(doubled)
    task = await house.run("parent")

    assert task.result == [4, 2]
    assert len(await house.children(task)) == 2
