"""A cancel reaches what runs, however deep and however many; what is parked leaves nothing in the worker."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from pathlib import Path
from typing import Any

from opspawn import tool
from opspawn.contracts.limit import Limit
from opspawn.contracts.store import MAX_OPERATIONS, Batch, Query, SetLane, TaskState
from opspawn.ops.engine import Engine
from opspawn.stores.sqlite import open_sqlite
from opspawn.wakers.local import LocalWaker


async def test_an_async_tool_a_thread_tool_and_a_child_three_levels_deep_are_reached(house: Any, count: Any) -> None:
    go = threading.Event()

    @tool(effect="read")
    async def hang() -> None:
        count("async began")
        try:
            await asyncio.sleep(60)
        finally:
            count("async ended")

    @tool(effect="read")
    def block() -> None:
        count("thread began")
        go.wait(30)

    @house.function
    async def down(ctx: Any) -> Any:
        level = ctx.input
        if level < 3:
            return await ctx.gather(ctx.spawn("function/down", level + 1), ctx.call(block if level else hang, {}))
        return await ctx.call(hang, {})

    house.worker(poll_s=1.0)
    task = await house.submit("down", 0)
    await house.until(lambda: count["async began"] == 2 and count["thread began"] == 2)
    await house.engine.cancel(task.id)
    tree = await _tree_ended(house, task)
    go.set()

    assert len(tree) == 4
    assert {one.state for one in tree} == {TaskState.CANCELLED}
    assert count["async ended"] == 2
    assert all(child.ended <= tree[0].ended for child in tree)


async def test_another_process_is_reached_by_its_own_look(house: Any, count: Any) -> None:
    """The one that cancels rings no bell that the worker hears."""

    @house.function
    async def work(ctx: Any) -> None:
        count("began")
        await asyncio.sleep(60)

    house.worker(poll_s=0.1)
    task = await house.submit("work")
    await house.until(lambda: count["began"] == 1)
    house.waker.ring = lambda queue: None
    await house.engine.cancel(task.id)

    assert (await house.settled(task)).state is TaskState.CANCELLED


async def test_a_request_to_end_passes_the_lane_of_a_paused_agent_and_full_limits(house: Any) -> None:
    """A parent and its child wait; then their lane is closed, and somebody else has the only place."""
    one = Limit("slot", 1)

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child", None)

    @house.function
    async def child(ctx: Any) -> None:
        await ctx.wait("never")

    @house.function
    async def holder(ctx: Any) -> None:
        await asyncio.sleep(60)

    house.worker()
    task = await house.submit("parent", limits=[one])
    await house.until(lambda: _parked(house, task, 1))
    holding = await house.reaches(await house.submit("holder", limits=[one]), TaskState.RUNNING)
    await house.store.commit(Batch([SetLane("function/parent", False), SetLane("function/child", False)]))
    await house.engine.cancel(task.id)
    tree = await _tree_ended(house, task)
    still = (await house.engine.task(holding.id)).state
    await house.engine.cancel(holding.id)

    assert [one.state for one in tree] == [TaskState.CANCELLED] * 2
    assert still is TaskState.RUNNING
    await house.settled(holding)


async def test_two_stores_on_one_file_reach_each_others_runs(house_on_file: Any, tmp_path: Path, count: Any) -> None:
    """As two processes do: the one that cancels has no waker that the worker hears."""
    house = house_on_file

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/child", None)

    @house.function
    async def child(ctx: Any) -> None:
        count("began")
        try:
            await asyncio.sleep(60)
        finally:
            count("ended")

    house.worker(poll_s=0.2)
    task = await house.submit("parent")
    await house.until(lambda: count["began"] == 1)
    other = await open_sqlite(str(tmp_path / "opspawn.db"))
    await Engine(other, LocalWaker(), lambda handler, input: input).cancel(task.id)
    await other.aclose()
    tree = await _tree_ended(house, task)

    assert [one.state for one in tree] == [TaskState.CANCELLED] * 2
    assert count["ended"] == 1


async def test_a_task_with_hundreds_of_children_is_cancelled_in_bounded_batches(house: Any) -> None:
    sizes: list[int] = []

    class Counts:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            sizes.append(len(batch.operations))
            return await house.store.commit(batch)

    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.spawn("function/child", n) for n in range(500)))

    @house.function
    async def child(ctx: Any) -> None:
        await ctx.wait("never")

    house.worker(store=Counts())
    task = await house.submit("parent")
    await house.until(lambda: _parked(house, task, 250))
    await house.engine.cancel(task.id)
    ended = await house.settled(task)
    left = [await _count(house, task, state) for state in ("queued", "running", "waiting")]

    assert ended.state is TaskState.CANCELLED
    assert max(sizes) <= MAX_OPERATIONS
    assert left == [0, 0, 0]


async def test_nothing_of_a_parked_run_stays_in_the_worker(house: Any) -> None:
    class Large:
        """What a run holds in its variables."""

    held: list[weakref.ref[Large]] = []

    @house.function
    async def work(ctx: Any) -> Any:
        large = Large()
        held.extend((weakref.ref(large), weakref.ref(ctx)))
        answer = await ctx.ask("Well?")
        return [answer, type(large).__name__]

    worker = house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.until(lambda: worker.running == 0)
    await asyncio.sleep(0.01)
    gc.collect()

    assert [ref() for ref in held] == [None, None]
    [question] = (await house.engine.questions(Query())).items
    await house.engine.answer(question.id, 1)
    assert (await house.settled(task)).result == [1, "Large"]


async def _tree_ended(house: Any, task: Any) -> list[Any]:
    """All tasks of a tree, oldest first, once they have ended."""

    async def over() -> bool:
        found = await house.store.find_tasks(Query(where={"root": task.id}, limit=200))
        return all(one.state.terminal for one in found.items)

    await house.until(over)
    return list((await house.store.find_tasks(Query(where={"root": task.id}, limit=200))).items)[::-1]


async def _parked(house: Any, task: Any, least: int) -> bool:
    return await _count(house, task, "waiting") >= least


async def _count(house: Any, task: Any, state: str) -> int:
    page = await house.store.find_tasks(Query(where={"parent": task.id, "state": state}, limit=200))
    found = len(page.items)
    while page.cursor is not None and found < 400:
        query = Query(where={"parent": task.id, "state": state}, limit=200, cursor=page.cursor)
        page = await house.store.find_tasks(query)
        found += len(page.items)
    return found
