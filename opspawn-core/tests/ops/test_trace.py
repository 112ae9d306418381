"""A trace shows steps, waits, attempts and children, of tasks that go on, too; and of very many children only some."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Batch, Delete, Put, Query, Record, TaskState
from opspawn.errors import StepFailed
from opspawn.ops import presence
from opspawn.ops.presence import KIND
from opspawn.ops.traces import MAX_CHILDREN, seconds_in_words, trace_of


async def test_what_a_parked_task_waits_for_is_an_open_span(house: Any) -> None:
    @house.function
    async def listens(ctx: Any) -> None:
        await ctx.step("look", lambda: 1)
        await ctx.wait("go")

    house.worker()
    task = await house.submit("listens")
    await house.reaches(task, TaskState.WAITING)
    root = (await trace_of(house.store, task.id)).root
    await house.engine.signal(task.id, "go")
    await house.settled(task)
    after = (await trace_of(house.store, task.id)).root

    assert root.state == "waiting"
    [wait] = [span for span in root.children if span.kind == "wait"]
    assert (wait.name, wait.end) == ("signal go", None)
    [over] = [span for span in after.children if span.kind == "wait"]
    assert over.end is not None


async def test_attempts_and_tries_that_failed_are_counted(house: Any, count: Any) -> None:
    @house.function
    async def frail(ctx: Any) -> str:
        await ctx.step("look", lambda: 1)
        if count("life") < 3:
            raise OSError("the line is dead")
        return "done"

    house.worker()
    retry = RetryPolicy(3, 0.0, 0.0, when=("error",))
    task = await house.settled(await house.submit("frail", retry=retry))
    root = (await trace_of(house.store, task.id)).root

    assert (root.state, root.failures, root.ok) == ("succeeded", 2, True)
    assert [span.ok for span in root.children if span.kind == "run"] == [False, False, True]


async def test_a_step_in_flight_that_may_happen_once_is_open(house: Any) -> None:
    import asyncio

    go = asyncio.Event()

    @house.function
    async def pays(ctx: Any) -> None:
        await ctx.step("pay", go.wait, effect="once")

    house.worker()
    task = await house.submit("pays")

    async def began() -> bool:
        return "step.started" in await house.types(task)

    await house.until(began)
    open_step = [span for span in (await trace_of(house.store, task.id)).spans() if span.kind == "step"]
    go.set()
    await house.settled(task)
    ended = [span for span in (await trace_of(house.store, task.id)).spans() if span.kind == "step"]

    assert [(span.name, span.end) for span in open_step] == [("pay", None)]
    assert [(span.name, span.ok) for span in ended] == [("pay", True)]


async def test_of_very_many_children_those_that_failed_are_shown_first_and_the_others_counted(house: Any) -> None:
    number = MAX_CHILDREN + 30

    @house.function
    async def child(ctx: Any) -> None:
        if ctx.input == number - 1:
            raise ValueError("the last one")

    @house.function
    async def parent(ctx: Any) -> None:
        async def one(n: int) -> None:
            with suppress(StepFailed):
                await ctx.spawn("function/child", n, key=f"c{n}")

        await ctx.gather(*(one(n) for n in range(number)))

    task = await house.run("parent")
    root = (await trace_of(house.store, task.id)).root

    shown = [span for span in root.children if span.kind == "task"]
    assert len(shown) == MAX_CHILDREN
    assert [span.state for span in shown].count("failed") == 1
    assert root.more == {"succeeded": number - MAX_CHILDREN}


async def test_what_a_dead_worker_left_is_taken_away_by_another(house: Any, monkeypatch: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    monkeypatch.setattr(presence, "GONE", timedelta(0))
    await house.store.commit(Batch([Put(Record(KIND, "w-dead", {}), expect=0)]))
    house.worker()

    async def gone() -> bool:
        return [one.id for one in (await house.store.find(KIND, Query())).items] not in ([], ["w-dead"])

    async def buried() -> bool:
        return await house.store.get(KIND, "w-dead") is None

    await house.until(gone)
    await house.until(buried)


async def test_a_worker_whose_record_was_taken_away_tells_of_itself_again(house: Any) -> None:
    from opspawn.contracts.clock import SYSTEM_CLOCK

    made = presence.Presence(
        house.store, "w-1", queues=["default"], handlers=["function/x"], slots=1, now=lambda: (0, False),
        clock=SYSTEM_CLOCK,
    )  # fmt: skip
    await made._tell(15.0)
    await house.store.commit(Batch([Delete(KIND, "w-1", 1)]))
    await made._tell(15.0)

    assert [one.id for one in await presence.workers(house.store)] == ["w-1"]


def test_durations_are_said_as_people_do() -> None:
    said = [seconds_in_words(seconds) for seconds in (0.0123, 3.44, 320, 11100, 187200)]

    assert said == ["12 ms", "3.4 s", "5 min 20 s", "3 h 5 min", "2 d 4 h"]
