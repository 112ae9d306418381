"""What callers do with durable work: accept it once, wait for it, and get plain answers when they ask for nonsense."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.store import Query, TaskState
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound


@pytest.fixture
def work(house: Any, count: Any) -> Any:
    @house.function
    async def work(ctx: Any) -> Any:
        count("work")
        return ctx.input

    return work


async def test_an_accepted_task_is_there_before_anything_runs(house: Any, work: Any) -> None:
    task = await house.submit("work", {"n": 1}, priority=2, labels={"team": "red"})

    assert task.state is TaskState.QUEUED
    assert (task.root, task.input, task.priority, task.labels) == (task.id, {"n": 1}, 2, {"team": "red"})
    [accepted] = await house.events(task)
    assert (accepted.type, accepted.data) == ("task.accepted", {"handler": "function/work", "input": {"n": 1}})


async def test_the_same_key_with_the_same_request_gives_the_same_task(house: Any, work: Any, count: Any) -> None:
    asked = [house.submit("work", {"n": 1}, idempotency_key="k") for _ in range(5)]
    tasks = await asyncio.gather(*asked)
    house.worker()
    ended = await house.settled(tasks[0])
    later = await house.submit("work", {"n": 1}, idempotency_key="k")

    assert {task.id for task in tasks} == {ended.id} == {later.id}
    assert later.result == {"n": 1}
    assert count["work"] == 1


@pytest.mark.parametrize(
    "other", [{"input": {"n": 2}}, {"priority": 1}, {"session": "s"}, {"labels": {"a": "b"}}, {"timeout_s": 1.0}]
)
async def test_the_same_key_with_another_request_is_refused(house: Any, work: Any, other: dict[str, Any]) -> None:
    await house.submit("work", input={"n": 1}, idempotency_key="k")

    with pytest.raises(IdempotencyMismatch, match="The idempotency key 'k' was used before with another request"):
        await house.submit("work", **{"input": {"n": 1}, "idempotency_key": "k", **other})
    assert len((await house.store.find_tasks(Query())).items) == 1


async def test_an_id_of_ones_own_is_taken_once(house: Any, work: Any) -> None:
    task = await house.submit("work", id="t-mine")

    assert task.id == "t-mine"
    with pytest.raises(Conflict):
        await house.submit("work", id="t-mine")


@pytest.mark.parametrize("input", [object(), {"n": float("nan")}, "\ud800", [object()]])
async def test_an_input_that_is_not_json_is_refused_and_nothing_is_accepted(house: Any, work: Any, input: Any) -> None:
    with pytest.raises(InvalidInput, match="The input of 'function/work' is not JSON"):
        await house.submit("work", input)
    assert (await house.store.find_tasks(Query())).items == []


async def test_an_input_that_is_too_large_is_refused_and_nothing_is_accepted(house: Any, work: Any) -> None:
    with pytest.raises(InvalidInput, match="too much to be kept at once"):
        await house.submit("work", "x" * 5_000_000)
    assert (await house.store.find_tasks(Query())).items == []


async def test_an_unknown_handler_is_refused(house: Any) -> None:
    with pytest.raises(NotFound):
        await house.submit("none")


async def test_to_wait_ends_when_the_task_ends(house: Any, work: Any) -> None:
    task = await house.submit("work", 7)
    waiting = [asyncio.create_task(house.engine.wait(task.id, 20.0)) for _ in range(3)]
    await asyncio.sleep(0.01)
    house.worker()

    assert [one.result for one in await asyncio.gather(*waiting)] == [7, 7, 7]


async def test_to_wait_ends_when_the_time_is_up(house: Any, work: Any) -> None:
    task = await house.submit("work")

    assert (await house.engine.wait(task.id, 0.0)).state is TaskState.QUEUED
    assert (await house.engine.wait(task.id, 0.05)).state is TaskState.QUEUED


async def test_to_wait_ends_when_only_a_human_can_go_on(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("a", lambda n: n, count("work"))
        await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> None:
        return None

    assert (await house.run("work")).state is TaskState.PAUSED


async def test_to_wait_for_a_task_that_settles_and_goes_on_does_not_spin(house: Any, count: Any) -> None:
    reads: list[str] = []

    class Counts:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def get_task(self, id: str) -> Any:
            reads.append(id)
            found = await house.store.get_task(id)
            return None if found is None else type(found)(**{**_fields(found), "state": TaskState.RUNNING})

    from opspawn.ops.engine.engine import Engine

    @house.function
    async def work(ctx: Any) -> None:
        return None

    engine = Engine(Counts(), house.waker, lambda _, given: given)  # type: ignore[arg-type]
    task = await house.submit("work")
    waiting = asyncio.create_task(engine.wait(task.id, 0.3))
    await asyncio.sleep(0.05)
    house.worker()
    await waiting
    await engine.aclose()

    assert len(reads) < 10


def _fields(task: Any) -> dict[str, Any]:
    return {name: getattr(task, name) for name in type(task).__slots__}


async def test_who_waits_for_an_unknown_task_is_told(house: Any) -> None:
    with pytest.raises(NotFound, match="There is no task 't-none'"):
        await house.engine.wait("t-none", 1.0)
    with pytest.raises(NotFound, match="There is no task 't-none'"):
        await house.engine.journal("t-none")


async def test_a_waiter_is_told_even_if_events_cannot_be_followed(house: Any, work: Any) -> None:
    from opspawn.errors import StoreError
    from opspawn.ops.engine.engine import Engine

    class Tailless:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def tail(self, after: Any = None, **options: Any) -> Any:
            raise StoreError("no tail today")
            yield

    engine = Engine(Tailless(), house.waker, lambda _, given: given)  # type: ignore[arg-type]
    task = await house.submit("work", 7)
    house.worker()
    ended = await engine.wait(task.id, 20.0)
    await engine.aclose()

    assert ended.result == 7


async def test_a_worker_in_the_same_process_tells_waiting_callers_of_the_end_exactly_as_the_store_has_it(
    house: Any,
) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return {"got": ctx.input}

    @house.function
    async def fail(ctx: Any) -> Any:
        raise ValueError("no")

    house.engine = engine = house.untold_engine()
    engine.look_again_s = 3600.0
    for name in ("work", "fail"):
        task = await house.submit(name, [7], labels={"team": "blue"}, priority=3)
        waiting = asyncio.create_task(engine.wait(task.id, 20.0))
        await asyncio.sleep(0.01)
        worker = house.worker()
        told = await waiting
        await house.stop(worker)

        assert told == await house.store.get_task(task.id)
    await engine.aclose()


async def test_a_higher_priority_goes_first(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count(ctx.input)

    tasks = [await house.submit("work", name, priority=n) for n, name in enumerate("abc")]
    house.worker(slots=1)
    for task in tasks:
        await house.settled(task)

    assert count.calls == ["c", "b", "a"]


async def test_other_queues_are_left_alone(house: Any, work: Any) -> None:
    theirs = await house.submit("work", queue="other")
    ours = await house.run("work")

    assert ours.state is TaskState.SUCCEEDED
    assert (await house.engine.task(theirs.id)).state is TaskState.QUEUED


async def test_a_search_for_tasks_that_can_find_none_is_refused(house: Any) -> None:
    with pytest.raises(InvalidInput, match="Tasks have no state 'done'"):
        await house.engine.tasks(Query({"state": "done"}))
    with pytest.raises(InvalidInput, match="cannot be searched by 'bogus'"):
        await house.engine.tasks(Query({"bogus": "x"}))
