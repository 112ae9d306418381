"""`why` names what a task waits for, and when that ends."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from opspawn.contracts.limit import Limit
from opspawn.contracts.seeing import Wait
from opspawn.contracts.store import Batch, Put, Query, Record, SetLane, TaskState
from opspawn.errors import NotFound
from opspawn.ops import presence
from opspawn.ops.presence import KIND, workers
from opspawn.ops.why.why import why


async def waits(house: Any, task: Any) -> list[Wait]:
    return list((await why(house.store, task if isinstance(task, str) else task.id)).waits)


async def kinds(house: Any, task: Any) -> list[str]:
    return [wait.kind for wait in await waits(house, task)]


async def offered(house: Any) -> None:
    """Return once a worker has told of itself."""

    async def told() -> bool:
        return bool(await workers(house.store))

    await house.until(told)


async def test_a_task_that_nobody_can_run_waits_for_a_worker(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    task = await house.submit("work")
    [alone] = await waits(house, task)
    house.functions = {"other": work}
    worker = house.worker()
    await offered(house)
    [other] = await waits(house, task)

    assert (alone.kind, alone.what) == ("worker", "No worker is there.")
    assert other.kind == "worker"
    assert worker.id in other.what
    assert "function/work" in other.what
    house.functions["work"] = work


async def test_a_task_of_a_queue_that_no_worker_serves_waits_for_one(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    task = await house.submit("work", queue="gpu")
    house.worker()
    await offered(house)

    [wait] = await waits(house, task)
    assert (wait.kind, wait.details["queue"]) == ("worker", "gpu")


async def test_a_delay_is_named_with_its_end(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    house.worker()
    await offered(house)
    task = await house.submit("work", delay_s=3600)

    [wait] = await waits(house, task)
    assert wait.kind == "delay"
    assert wait.until == (await house.engine.task(task.id)).due


async def test_a_backoff_names_the_failure_and_the_next_try(house: Any) -> None:
    from opspawn.contracts.run import RetryPolicy

    @house.function
    async def work(ctx: Any) -> None:
        raise OSError("the line is dead")

    house.worker()
    task = await house.submit("work", retry=RetryPolicy(3, 3600.0, 3600.0, when=("error",)))
    await house.reaches(task, TaskState.WAITING)

    [wait] = await waits(house, task)
    assert wait.kind == "backoff"
    assert "the line is dead" in wait.what
    assert wait.until is not None


async def test_a_full_limit_is_named_with_who_holds_it(house: Any) -> None:
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> None:
        await go.wait()

    house.worker()
    first = await house.submit("work", limits=[Limit("crm", 1)])
    await house.reaches(first, TaskState.RUNNING)
    second = await house.submit("work", limits=[Limit("crm", 1)])

    [wait] = await waits(house, second)
    assert wait.kind == "limit"
    assert wait.details == {"key": wait.details["key"], "limit": 1, "holders": [first.id]}
    assert "crm" in wait.details["key"]
    go.set()
    await house.settled(second)


async def test_a_worker_without_a_free_slot_is_said_to_be_full(house: Any) -> None:
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("wait", go.wait)

    house.worker(slots=1)
    await offered(house)
    await house.reaches(await house.submit("work"), TaskState.RUNNING)
    task = await house.submit("work")

    assert await kinds(house, task) == ["slots"]
    go.set()
    await house.settled(task)


async def test_a_worker_that_was_not_heard_of_for_long_counts_as_gone(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    worker = house.worker()
    await offered(house)
    [record] = (await house.store.find(KIND, Query())).items
    await house.stop(worker)
    await house.store.commit(Batch([Put(Record(KIND, "w-dead", {**record.data, "every_s": 0.0}), expect=0)]))
    task = await house.submit("work")

    assert [one.id for one in await workers(house.store)] == ["w-dead"]
    assert await kinds(house, task) == ["worker"]


async def test_a_paused_agent_is_named_with_who_paused_it(house: Any) -> None:
    data = {
        "name": "helper", "local": True, "version": "", "capabilities": [], "contactEndpoint": None, "metadata": {},
        "concurrency": None, "registered": None, "state": "idle", "details": None, "timestamp": None,
        "paused": "2026-11-20T12:00:00+00:00", "pauseDetails": {"by": "ada"},
    }  # fmt: skip
    lane = [Put(Record("agent", "helper", data), expect=0), SetLane("agent/helper", open=False)]
    await house.store.commit(Batch(lane))
    house._accept = house.engine._accepts = lambda handler, input: input
    task = await house.engine.submit("agent/helper", "hi")

    first = (await waits(house, task))[0]
    assert first.kind == "lane"
    assert "'helper'" in first.what
    assert "paused" in first.what
    assert "ada" in first.what
    assert first.remedy == "Let it work with: opspawn agents resume helper"


async def test_a_parent_waits_for_its_children(house: Any) -> None:
    @house.function
    async def child(ctx: Any) -> None:
        await ctx.wait("go")

    @house.function
    async def parent(ctx: Any) -> None:
        await ctx.gather(*(ctx.spawn("function/child", key=f"c{n}") for n in range(7)))

    house.worker()
    task = await house.submit("parent")
    await house.reaches(task, TaskState.WAITING)

    [wait] = await waits(house, task)
    assert wait.kind == "children"
    assert (wait.details["left"], wait.details["of"]) == (7, 7)
    assert "and 2 more" in wait.what


async def test_a_timer_a_signal_and_a_question_are_named(house: Any) -> None:
    @house.function
    async def naps(ctx: Any) -> None:
        await ctx.sleep(3600)

    @house.function
    async def listens(ctx: Any) -> None:
        await ctx.wait("go", timeout_s=3600)

    @house.function
    async def asks(ctx: Any) -> None:
        await ctx.ask("Ship it?", to="ada", timeout_s=7200)

    house.worker()
    tasks = [await house.submit(name) for name in ("naps", "listens", "asks")]
    for task in tasks:
        await house.reaches(task, TaskState.WAITING)
    [nap], [signal], [question] = [await waits(house, task) for task in tasks]

    assert [nap.kind, signal.kind, question.kind] == ["timer", "signal", "question"]
    assert nap.until is not None
    assert (signal.details["name"], signal.until is not None) == ("go", True)
    assert "Ship it?" in question.what
    assert question.details["to"] == "ada"
    assert question.until is not None
    assert question.details["question"] in str(question.remedy)


async def test_a_pause_says_who_and_how_to_go_on(house: Any) -> None:
    @house.function
    async def naps(ctx: Any) -> None:
        await ctx.sleep(3600)

    house.worker()
    task = await house.submit("naps")
    await house.reaches(task, TaskState.WAITING)
    await house.engine.pause(task.id, by="ada")

    [wait] = await waits(house, task)
    assert (wait.kind, wait.what) == ("paused", "It is paused: ada paused it.")
    assert wait.remedy == f"Let it go on with: opspawn tasks resume {task.id}"


async def test_a_doubt_names_the_step_and_how_to_decide(house: Any) -> None:
    @house.function
    async def pays(ctx: Any) -> None:
        async def pay() -> None:
            await asyncio.Event().wait()

        await ctx.step("pay", pay, effect="once")

    worker = house.worker()
    task = await house.submit("pays")

    async def began() -> bool:
        return "step.started" in await house.types(task)

    await house.until(began)
    [running] = await waits(house, task)
    await house.kill(worker)
    [lost, *_] = await waits(house, task)
    house.worker()
    await house.reaches(task, TaskState.IN_DOUBT)
    [doubt] = await waits(house, task)

    assert running.kind == "running"
    assert (running.details["step"], running.details["worker"]) == ("pay", worker.id)
    assert "in flight" in running.what
    assert lost.kind == "lost"
    assert (doubt.kind, doubt.details["key"]) == ("doubt", "pay")
    assert f"opspawn tasks resolve {task.id}" in str(doubt.remedy)


async def test_what_has_ended_waits_for_nothing_and_what_is_not_there_is_said(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    task = await house.run("work")

    [wait] = await waits(house, task)
    assert wait.kind == "ended"
    with pytest.raises(NotFound):
        await why(house.store, "t-nobody")


async def test_a_worker_tells_of_itself_and_leaves_nothing_behind(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None: ...

    worker = house.worker(queues=("default", "gpu"), slots=3)
    await offered(house)
    [told] = await workers(house.store)
    await house.stop(worker)

    assert (told.id, told.queues, told.handlers) == (worker.id, ("default", "gpu"), ("function/work",))
    assert (told.slots, told.running, told.draining) == (3, 0, False)
    assert told.alive(datetime.now(UTC))
    assert await workers(house.store) == []


async def test_a_worker_tells_at_once_that_it_drains(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when it next tells of itself, which it may not live to see."""
    monkeypatch.setattr(presence, "EVERY_S", 3600.0)
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("wait", go.wait)

    worker = house.worker(drain_s=60.0)
    await offered(house)
    task = await house.submit("work")
    await house.reaches(task, TaskState.RUNNING)
    worker.stop()

    async def drains() -> bool:
        return [(one.running, one.draining) for one in await workers(house.store)] == [(1, True)]

    await house.until(drains)
    go.set()
    await house.stop(worker)
    assert await workers(house.store) == []


async def test_how_busy_a_worker_is_shows_as_soon_as_it_is(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when it next tells of itself: its leases say so."""
    monkeypatch.setattr(presence, "EVERY_S", 3600.0)
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("wait", go.wait)

    house.worker(slots=2)
    await offered(house)
    tasks = [await house.submit("work") for _ in range(2)]
    for task in tasks:
        await house.reaches(task, TaskState.RUNNING)
    busy = [(one.running, one.slots) for one in await workers(house.store)]
    go.set()
    for task in tasks:
        await house.settled(task)

    assert busy == [(2, 2)]
    assert [one.running for one in await workers(house.store)] == [0]


async def test_where_too_many_tasks_run_to_count_them_a_worker_is_as_busy_as_it_told(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.worker()
    await offered(house)
    [record] = (await house.store.find(KIND, Query())).items
    await house.store.commit(Batch([Put(Record(KIND, "w-busy", {**record.data, "running": 7}), expect=0)]))
    counted = {one.id: one.running for one in await workers(house.store)}
    monkeypatch.setattr(presence, "_MOST_COUNTED", 0)

    assert (counted["w-busy"], {one.id: one.running for one in await workers(house.store)}["w-busy"]) == (0, 7)
