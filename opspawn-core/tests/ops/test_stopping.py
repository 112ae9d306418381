"""A worker that stops lets steps end, begins none, and gives its tasks back; another worker finishes them."""

from __future__ import annotations

import asyncio
from typing import Any

from opspawn.contracts.store import TaskState


async def test_the_step_in_flight_ends_and_the_next_is_somebody_elses(house: Any, count: Any) -> None:
    """Named guard: a release costs no attempt."""
    go = asyncio.Event()

    async def act(name: str) -> str:
        count(name)
        await go.wait()
        return name

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("a", act, "a", effect="once"), await ctx.step("b", act, "b", effect="once")]

    worker = house.worker(drain_s=20.0)
    task = await house.submit("work")
    await house.until(lambda: count["a"] == 1)
    stopping = asyncio.create_task(house.stop(worker))
    await asyncio.sleep(0)
    go.set()
    await stopping
    released = await house.engine.task(task.id)
    done_by_the_first = [event.data["key"] for event in await house.events(task, "step.done")]
    house.worker()
    ended = await house.settled(task)

    assert (released.state, released.attempt, released.deliveries) == (TaskState.QUEUED, 0, 0)
    assert done_by_the_first == ["a"]
    assert ended.result == ["a", "b"]
    assert (ended.attempt, count["a"], count["b"]) == (0, 1, 1)


async def test_a_step_that_takes_too_long_is_cut_off_and_done_again_elsewhere(house: Any, count: Any) -> None:
    async def act() -> str:
        if count("act") == 1:
            await asyncio.sleep(60)
        return "done"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act)

    worker = house.worker(drain_s=0.05)
    task = await house.submit("work")
    await house.until(lambda: count["act"] == 1)
    await house.stop(worker)
    released = await house.engine.task(task.id)
    house.worker()
    ended = await house.settled(task)

    assert (released.state, released.attempt) == (TaskState.QUEUED, 0)
    assert (ended.result, ended.attempt, count["act"]) == ("done", 0, 2)


async def test_a_once_effect_that_is_cut_off_is_in_doubt(house: Any, count: Any) -> None:
    async def pay() -> None:
        count("pay")
        await asyncio.sleep(60)

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.step("pay", pay, effect="once")

    worker = house.worker(drain_s=0.05)
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.stop(worker)
    house.worker()

    assert (await house.settled(task)).state is TaskState.IN_DOUBT
    assert count["pay"] == 1


async def test_a_second_stop_gives_back_at_once(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        count("work")
        await asyncio.sleep(60)

    worker = house.worker(drain_s=60.0)
    task = await house.submit("work")
    await house.until(lambda: count["work"] == 1)
    worker.stop()
    await house.stop(worker)

    assert (await house.engine.task(task.id)).state is TaskState.QUEUED


async def test_a_run_that_ends_meanwhile_has_ended(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        count("work")
        await asyncio.sleep(0.1)
        return "done"

    worker = house.worker(drain_s=20.0)
    task = await house.submit("work")
    await house.until(lambda: count["work"] == 1)
    await house.stop(worker)

    assert (await house.engine.task(task.id)).result == "done"


async def test_nothing_is_claimed_after_a_stop(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count("work")

    worker = house.worker()
    await house.stop(worker)
    task = await house.submit("work")

    assert (await house.engine.task(task.id)).state is TaskState.QUEUED
    assert count["work"] == 0


async def test_rolling_restarts_cost_no_attempt(house: Any, count: Any) -> None:
    async def act(n: int) -> int:
        count("act")
        await asyncio.sleep(0.005)
        return n

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("act", act, n) for n in range(20)]

    worker = house.worker()
    tasks = [await house.submit("work") for _ in range(10)]
    for _ in range(5):
        await asyncio.sleep(0.02)
        other = house.worker()
        await house.stop(worker)
        worker = other
    ended = [await house.settled(task) for task in tasks]

    assert {task.attempt for task in ended} == {0}
    assert all(task.result == list(range(20)) for task in ended)
    assert count["act"] == 200


async def test_leases_are_kept_while_a_worker_drains(house: Any, count: Any) -> None:
    """Named guard: the heart beats until the drain has ended, or another worker would take what is about to end."""
    go = asyncio.Event()

    async def act() -> str:
        count("act")
        await go.wait()
        return "done"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act)

    worker = house.worker(lease_s=0.6, drain_s=20.0)
    task = await house.submit("work")
    await house.until(lambda: count["act"] == 1)
    stopping = asyncio.create_task(house.stop(worker))
    house.worker(lease_s=0.6)
    await asyncio.sleep(1.5)
    claims = len(await house.events(task, "task.claimed"))
    go.set()
    await stopping
    ended = await house.settled(task)

    assert claims == 1
    assert (ended.result, ended.attempt, count["act"]) == ("done", 0, 1)


async def test_a_stop_counts_at_once_even_while_the_store_keeps_the_worker_waiting(house: Any, count: Any) -> None:
    class Slow:
        """Its claims take as long as they like, once told so."""

        waits: asyncio.Event | None = None
        asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def claim(self, claim: Any) -> Any:
            if self.waits is not None:
                self.asked += 1
                await self.waits.wait()
                return []
            return await house.store.claim(claim)

    go = asyncio.Event()

    async def act(name: str) -> str:
        count(name)
        await go.wait()
        return name

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("a", act, "a"), await ctx.step("b", act, "b")]

    store = Slow()
    worker = house.worker(store=store, drain_s=20.0)
    task = await house.submit("work")
    await house.until(lambda: count["a"] == 1)
    store.waits = asyncio.Event()
    await house.until(lambda: store.asked > 0)
    stopping = asyncio.create_task(house.stop(worker))
    await asyncio.sleep(0)
    go.set()
    await house.reaches(task, TaskState.QUEUED)
    store.waits.set()
    await stopping

    assert (count["a"], count["b"]) == (1, 0)
