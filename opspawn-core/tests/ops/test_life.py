"""The moment in which a run is parked: too short to be met by chance, so these tests make it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import Batch, Claim
from opspawn.ops import transitions
from opspawn.ops.run.history import History
from opspawn.ops.run.journal import Journal
from opspawn.ops.run.life import Life


async def living(house: Any, handler: Any) -> Life:
    """A claimed task with a child, and its life, as a worker makes them."""
    house.functions = {"work": handler, "child": handler}

    async def accepts(handler: str, input: Any) -> Any:
        return input

    await house.submit("work")
    [lease] = await house.store.claim(Claim("w", ("default",), ("function/work",), 1, 30.0))
    journal = Journal(house.store, lease, History(), accepts=accepts)
    return Life(house.store, lease, journal, handler, halt_grace_s=1.0)


def hear_that_the_child_ended(life: Life) -> None:
    """What `Journal.refresh` does with the news, without the reading."""
    [child] = life.journal.history.unfinished_children
    told = {"child": child, "state": "succeeded", "result": "the child's", "error": None}
    news = [Event(99, life.task.id, datetime.now(UTC), "child.ended", told)]
    life.journal.history.absorb(news)
    life.journal._let_go(news)


async def test_a_branch_that_was_released_just_after_the_run_was_told_idle_gets_its_turn(house: Any) -> None:
    async def work(ctx: Any) -> Any:
        return await ctx.spawn("function/child")

    life = await living(house, work)
    tell_idle = life.branches.on_idle

    def told_idle_and_released_in_one_turn() -> None:
        tell_idle()  # type: ignore[misc]
        life.branches.on_idle = tell_idle
        hear_that_the_child_ended(life)

    life.branches.on_idle = told_idle_and_released_in_one_turn

    [_, put] = await life.run()

    assert (put.record.state, put.record.result) == ("succeeded", "the child's")  # type: ignore[union-attr]


def hear_of_a_signal(life: Life) -> None:
    """What `Journal.refresh` does with a signal that came, without the reading."""
    told = {"id": "one", "name": "go", "data": "the signal's"}
    news = [Event(99, life.task.id, datetime.now(UTC), "signal.received", told)]
    life.journal.history.absorb(news)
    life.journal.wakes += 1
    life.journal._let_go(news)


async def test_a_wait_with_a_time_out_that_was_released_just_before_the_run_is_told_idle_gets_its_turn(
    house: Any,
) -> None:
    """Such a wait needs more turns of the loop than others; the run must not park with news that nobody took."""

    async def work(ctx: Any) -> Any:
        return await ctx.wait("go", timeout_s=3600)

    life = await living(house, work)
    tell_idle = life.branches.on_idle

    def released_and_told_idle_in_one_turn() -> None:
        life.branches.on_idle = tell_idle
        hear_of_a_signal(life)
        tell_idle()  # type: ignore[misc]

    life.branches.on_idle = released_and_told_idle_in_one_turn

    [_, put] = await life.run()

    assert (put.record.state, put.record.result) == ("succeeded", "the signal's")  # type: ignore[union-attr]


async def test_a_result_that_is_there_when_somebody_cancels_stands(house: Any) -> None:
    async def work(ctx: Any) -> Any:
        life.decide("cancel")
        return "done"

    life = await living(house, work)

    [_, put] = await life.run()

    assert (put.record.state, put.record.result) == ("succeeded", "done")  # type: ignore[union-attr]


async def test_a_request_to_end_is_heard_whoever_reads_the_news(house: Any) -> None:
    """A wait that runs out of time reads what came before it gives up; nobody will read that again."""

    async def work(ctx: Any) -> Any:
        await house.store.commit(Batch(transitions.request_cancel(life.task.id)))
        await life.journal.look()
        await asyncio.sleep(60)

    life = await living(house, work)

    [_, put] = await life.run()

    assert put.record.state == "cancelled"  # type: ignore[union-attr]


async def test_code_that_a_run_leaves_behind_is_told_that_the_run_is_over(house: Any) -> None:
    returned, told = asyncio.Event(), []

    @house.function
    async def work(ctx: Any) -> str:
        async def behind() -> None:
            await returned.wait()
            try:
                await ctx.step("late", lambda: 1)
            except BaseException as error:
                told.append(str(error))

        house.left = asyncio.create_task(behind())
        return "done"

    task = await house.run("work")
    returned.set()
    await asyncio.wait({house.left}, timeout=5)

    assert task.result == "done"
    assert told == [f"This run of task {task.id} is over here: its code has ended, or it goes on elsewhere."]
