"""How few commits lie between tasks: a claim travels with the commit that gives it something to claim."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from opspawn.contracts.store import CLAIMED_AT_ONCE, Task
from opspawn.ops.engine.engine import Engine

#: A worker may be looking just when something is committed, and then claims it with its next look.
_TRIES = 50


async def _moment(house: Any, task: Task, type: str) -> Any:
    [event] = await house.events(task, type)
    return event.time


async def test_a_free_worker_claims_what_its_process_accepts_in_the_same_commit(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input

    house.engine.coming = house.worker(poll_s=3600.0).expect
    for number in range(_TRIES):
        await asyncio.sleep(0.02)  # until it has seen what the end before rang for
        task = await house.engine.dispatch("function/work", number)
        assert task.result == number
        if await _moment(house, task, "task.accepted") == await _moment(house, task, "task.claimed"):
            return
    raise AssertionError(f"{_TRIES} tasks were all claimed later than they were accepted")


async def test_who_has_claimed_a_new_task_already_is_not_rung(house: Any) -> None:
    rung: list[str] = []
    house.waker.ring = rung.append

    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input

    worker = house.worker(poll_s=3600.0)
    house.engine.coming, house.engine.claimed = worker.expect, worker.has
    await asyncio.sleep(0.02)  # until it has looked
    results = [(await house.engine.dispatch("function/work", number)).result for number in range(5)]

    assert results == list(range(5))
    assert rung == []


async def test_what_a_worker_without_a_free_slot_cannot_claim_waits_for_the_next(house: Any) -> None:
    """The slot of a run goes to the next task in the very commit that ends the run."""

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", lambda: ctx.input)

    tasks = [await house.submit("work", number) for number in range(20)]
    house.engine.coming = house.worker(slots=1, poll_s=3600.0).expect
    done = [await house.engine.wait(task.id, 20.0) for task in tasks]

    assert [task.result for task in done] == list(range(20))
    ends = {await _moment(house, task, "task.succeeded") for task in tasks[:-1]}
    assert ends & {await _moment(house, task, "task.claimed") for task in tasks[1:]}


async def test_a_worker_that_has_just_filled_its_slots_does_not_look_at_once_for_what_is_to_end(house: Any) -> None:
    """It finds nothing, time after time, and makes a transaction of what would be one statement of steps."""
    asked: list[bool] = []

    class Counts:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def claim(self, claim: Any) -> Any:
            asked.append(claim.ending_only)
            return await house.store.claim(claim)

    house.waker.ring = lambda queue: None
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> Any:
        await go.wait()
        return ctx.input

    tasks = [await house.submit("work", number) for number in range(6)]
    house.worker(store=Counts(), slots=2, poll_s=3600.0)
    await asyncio.sleep(0.1)
    assert asked == [False]
    go.set()
    assert [(await house.engine.wait(task.id, 20.0)).result for task in tasks] == list(range(6))


async def test_who_was_given_as_many_as_a_store_gives_at_once_claims_again(house: Any) -> None:
    class Sparing:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def claim(self, claim: Any) -> Any:
            return await house.store.claim(replace(claim, slots=min(claim.slots, CLAIMED_AT_ONCE)))

    house.waker.ring = lambda queue: None
    begun: list[int] = []
    everybody = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> Any:
        begun.append(ctx.input)
        if len(begun) == 2 * CLAIMED_AT_ONCE + 1:
            everybody.set()
        await everybody.wait()
        return ctx.input

    tasks = [await house.submit("work", number) for number in range(2 * CLAIMED_AT_ONCE + 1)]
    house.worker(store=Sparing(), slots=300, poll_s=3600.0)
    assert [(await house.engine.wait(task.id, 20.0)).result for task in tasks] == list(range(len(tasks)))


async def test_dispatch_looks_for_its_task_only_if_it_was_not_told(house: Any) -> None:
    looks: list[str] = []

    class Counts:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def get_task(self, id: str) -> Any:
            looks.append(id)
            return await house.store.get_task(id)

    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input

    house.engine = engine = Engine(Counts(), house.waker, lambda _, given: given)  # type: ignore[arg-type]
    engine.look_again_s = 3600.0
    house.worker()
    first = await engine.dispatch("function/work", 1)
    assert looks == [first.id]  # events are followed from now on
    second = await engine.dispatch("function/work", 2)
    assert second == await house.store.get_task(second.id)
    await engine.aclose()

    assert looks == [first.id]


async def test_callers_that_nobody_tells_look_again_and_again_by_themselves(house: Any) -> None:
    """One timer reminds all, and ends when nobody waits any more; a caller's own time is up when it says."""

    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input

    engine = house.untold_engine()
    engine.look_again_s = 0.02
    tasks = [await house.submit("work", n) for n in range(3)]
    waiting = [asyncio.create_task(engine.wait(task.id, 20.0)) for task in tasks]
    await asyncio.sleep(0.05)
    assert (await engine.wait(tasks[0].id, 0.01)).state == "queued"
    house.worker()
    assert [(await one).result for one in waiting] == [0, 1, 2]
    await asyncio.sleep(0.05)
    assert engine._reminder is None
    late = await house.submit("work", 3, queue="other")
    assert (await engine.wait(late.id, 0.05)).state == "queued"
    await engine.aclose()


async def test_a_process_in_which_nobody_waits_any_more_follows_no_events(house: Any) -> None:
    """And does so again for the next who waits."""
    followed: list[Any] = []

    class Counts:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        def tail(self, **more: Any) -> Any:
            followed.append(house.store.tail(**more))
            return followed[-1]

    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input

    house.engine = engine = Engine(Counts(), house.waker, lambda _, given: given)  # type: ignore[arg-type]
    engine.look_again_s = 0.02
    house.worker()
    assert (await engine.dispatch("function/work", 1)).result == 1
    while engine._watcher is not None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    assert followed[0]._ended
    assert engine._reminder is None
    engine.look_again_s = 3600.0
    assert (await engine.dispatch("function/work", 2)).result == 2
    assert len(followed) == 2
    await engine.aclose()
