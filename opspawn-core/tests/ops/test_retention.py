"""What is old goes, in whole trees; what is live, or built on, stays; one process does it at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn import App, tool
from opspawn.config import load_settings
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.events import NewEvent
from opspawn.contracts.seeing import Pruned
from opspawn.contracts.store import Append, Batch, EventQuery, Put, Query, Record, Task, TaskState
from opspawn.errors import StoreError
from opspawn.host import Host
from opspawn.ops.housekeeping import TURN, keep_house, sweep
from opspawn.ops.keeping import Keep
from opspawn.ops.retention import prune
from opspawn.ops.turns import Turn
from opspawn.stores.sqlite import open_sqlite

LATER = timedelta(days=40)
MONTH = Keep(ended_s=30 * 86400)


def later() -> datetime:
    """A time at which everything that has ended now is old."""
    return datetime.now(UTC) + LATER


async def left(house: Any) -> set[str]:
    return {task.id for task in (await house.store.find_tasks(Query(limit=200))).items}


@pytest.fixture
def functions(house: Any) -> Any:
    @house.function
    async def leaf(ctx: Any) -> None: ...

    @house.function
    async def fails(ctx: Any) -> None:
        raise ValueError("no")

    @house.function
    async def naps(ctx: Any) -> None:
        await ctx.sleep(3600)

    @house.function
    async def tree(ctx: Any) -> None:
        await ctx.gather(ctx.spawn("function/leaf", key="a"), ctx.spawn("function/leaf", key="b"))

    @house.function
    async def asks(ctx: Any) -> None:
        await ctx.ask("Ship it?", timeout_s=0.01, default="no")

    return house


async def test_what_ended_long_ago_goes_with_its_children_its_question_and_its_key(functions: Any) -> None:
    house = functions
    old = [await house.run("tree"), await house.run("asks", idempotency_key="once")]
    done = await prune(house.store, MONTH, later())
    again = await house.submit("asks", idempotency_key="once")

    assert (done.trees, done.tasks) == (2, 4)
    assert await left(house) == {again.id}
    assert (await house.store.find("question", Query(where={"root": old[1].id}))).items == []
    assert await house.store.journal(old[0].id) == []
    assert again.id != old[1].id  # the key went with its task
    await house.settled(again)


async def test_the_marks_of_signals_go_with_their_task(functions: Any) -> None:
    house = functions
    task = await house.submit("leaf")
    await house.engine.signal(task.id, "hello", id="once")
    kept = await house.store.find("signal", Query(where={"root": task.id}))
    house.worker()
    await house.settled(task)
    await prune(house.store, MONTH, later())

    assert len(kept.items) == 1
    assert (await house.store.find("signal", Query(where={"root": task.id}))).items == []


async def test_what_is_young_or_live_stays(functions: Any) -> None:
    house = functions
    ended = await house.run("leaf")
    napping = await house.submit("naps")
    await house.reaches(napping, TaskState.WAITING)

    young = await prune(house.store, MONTH, datetime.now(UTC))
    assert (young.trees, await left(house)) == (0, {ended.id, napping.id})
    await prune(house.store, MONTH, later())
    assert await left(house) == {napping.id}


async def test_a_tree_of_which_a_child_still_lives_stays_whole(functions: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("opspawn.ops.retention._BATCH", 1)  # else the store would refuse the batch as a whole
    house = functions
    child = Task("t-live", "function/leaf", root="t-root", queue="nobody")
    await house.store.commit(Batch([Put(child, expect=0), Append(child.id, NewEvent("task.accepted"))]))
    await house.run("tree", id="t-root")
    before = await left(house)

    await prune(house.store, MONTH, later())
    assert await left(house) == before
    assert len(before) == 4


async def test_what_a_later_retry_builds_on_stays_until_that_goes(functions: Any) -> None:
    house = functions
    worker = house.worker()
    first = await house.run("fails")
    await house.stop(worker)
    second = await house.engine.retry(first.id)

    done = await prune(house.store, MONTH, later())
    kept = await left(house)
    await house.engine.cancel(second.id)
    await house.settled_for_good(second)
    await prune(house.store, MONTH, later())

    assert (done.trees, done.held) == (0, 1)
    assert kept == {first.id, second.id}
    assert await left(house) == set()


async def test_of_too_many_the_newest_stay_and_failed_ones_may_stay_longer(functions: Any) -> None:
    house = functions
    tasks = [await house.run("leaf") for _ in range(4)]
    failed = await house.run("fails")
    await prune(house.store, Keep(ended_s=86400, failed_s=365 * 86400), later())
    after_age = await left(house)
    more = [await house.run("leaf") for _ in range(4)]
    await prune(house.store, Keep(at_most=2), datetime.now(UTC) + timedelta(seconds=1))

    assert after_age == {failed.id}
    assert await left(house) == {more[2].id, more[3].id}
    assert len(tasks) == 4


async def test_a_dry_run_deletes_nothing_and_counts_the_same(functions: Any) -> None:
    house = functions
    task = await house.run("tree")

    dry = await prune(house.store, MONTH, later(), dry_run=True)
    assert task.id in await left(house)
    assert await prune(house.store, MONTH, later()) == dry == Pruned(1, 3, 0, 0)


async def test_a_deletion_that_was_interrupted_is_finished_later(functions: Any, monkeypatch: Any) -> None:
    house = functions
    task = await house.run("tree")
    monkeypatch.setattr("opspawn.ops.retention._BATCH", 1)
    commits = 0

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            nonlocal commits
            commits += 1
            if commits == 2:
                raise StoreError("The disk is full.")
            return await house.store.commit(batch)

    with pytest.raises(StoreError):
        await prune(Failing(), MONTH, later())  # type: ignore[arg-type]
    half = await left(house)
    await prune(house.store, MONTH, later())

    assert task.id in half
    assert len(half) == 2
    assert await left(house) == set()


async def test_two_never_sweep_at_the_same_time(functions: Any) -> None:
    house = functions
    await house.run("leaf")
    mine, other = Turn(house.store, TURN, "a"), Turn(house.store, TURN, "b")

    assert await mine.take()
    assert not await other.take()
    assert await other.holder() == "a"
    assert await sweep(house.store, MONTH, other, SYSTEM_CLOCK) is None
    assert await mine.take()
    await mine.give_up()
    assert await sweep(house.store, MONTH, other, SYSTEM_CLOCK) is not None
    assert await other.holder() is None


async def test_the_turn_of_one_who_died_is_over_after_a_while(house: Any) -> None:
    assert await Turn(house.store, "work", "dead", for_s=0.0).take()
    await asyncio.sleep(0.002)

    assert await Turn(house.store, "work", "b").take()


async def test_a_worker_keeps_house_by_itself(functions: Any) -> None:
    house = functions
    await house.run("leaf")
    keeping = asyncio.create_task(keep_house(house.store, Keep(ended_s=0.001), "w-1", SYSTEM_CLOCK, every_s=0.01))

    async def gone() -> bool:
        return not await left(house)

    await house.until(gone)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_session_that_was_ended_by_name_goes_once_no_task_of_it_is_left(functions: Any) -> None:
    house = functions
    ended = (datetime.now(UTC)).isoformat()
    for id in ("s-old", "s-live"):
        await house.store.commit(
            Batch([Put(Record("session", id, {"ended": ended if id == "s-old" else None}), expect=0)])
        )
    await house.run("leaf", session="s-old")

    await prune(house.store, MONTH, later())

    assert await house.store.get("session", "s-old") is None
    assert await house.store.get("session", "s-live") is not None


async def told(store: Any, *types: str) -> None:
    """Events that belong to no task."""
    for type in types:
        await store.commit(Batch([Append(None, NewEvent(type), agent="helper")]))


async def of_no_task(store: Any) -> list[str]:
    return [event.type for event in await store.events(EventQuery(apart=True))]


async def test_events_of_no_task_go_when_they_are_old(functions: Any) -> None:
    """Those of agents and sessions; what is to be audited stays."""
    house = functions
    await told(house.store, "agent.state", "audit.key", "session.ended")
    task = await house.run("leaf")

    young = await prune(house.store, MONTH, datetime.now(UTC))
    dry = await prune(house.store, MONTH, later(), dry_run=True)
    kept = await of_no_task(house.store)
    done = await prune(house.store, MONTH, later())

    assert (young.events, dry.events, done.events) == (0, 2, 2)
    assert kept == ["agent.state", "audit.key", "session.ended"]
    assert await of_no_task(house.store) == ["audit.key"]
    assert task.id not in await left(house)


async def test_of_too_many_events_of_no_task_the_newest_stay(house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("opspawn.ops.leftovers._BATCH", 2)
    await told(house.store, *(f"agent.n{n}" for n in range(7)))

    done = await prune(house.store, Keep(at_most=2), datetime.now(UTC))

    assert done.events == 5
    assert await of_no_task(house.store) == ["agent.n5", "agent.n6"]


async def test_definitions_go_that_no_run_and_no_name_uses(functions: Any) -> None:
    """They are pinned by their digests; a run that still stands needs its own, however old it is."""
    house = functions
    names = ("gone", "runs", "named", "large")
    pins = [Put(Record("workflow", name, {"name": name}), expect=0) for name in names]
    stored = Put(Record("workflow-name", "named", {"versions": ["named"]}), expect=0)
    using = [
        Task("t-1", "workflow/inline", root="t-1", queue="nobody", input={"definition": "runs"}),
        Task(
            "t-2", "workflow/large", root="t-2", queue="nobody", input={"definition": "large", "inputs": "x" * 40_000}
        ),
    ]
    made = [step for task in using for step in (Put(task, 0), Append(task.id, NewEvent("task.accepted")))]
    await house.store.commit(Batch([*pins, stored, *made]))

    young = await prune(house.store, MONTH, datetime.now(UTC))
    done = await prune(house.store, MONTH, later())
    kept = {record.id for record in (await house.store.find("workflow", Query())).items}

    assert (young.records, done.records) == (0, 1)
    assert kept == {"runs", "named", "large"}


async def test_a_definition_that_is_used_again_becomes_young(tmp_path: Any, monkeypatch: Any) -> None:
    """So none is deleted between the moment in which it is pinned and that in which its run is accepted."""
    app = App(functions={"leaf": _leaf}, tools=[_look])
    loaded = load_settings(cwd=tmp_path)
    asked = {"opspawn": "1", "name": "w", "steps": {"look": {"uses": "tool/_look"}}}
    async with Host.open(app, loaded=loaded, worker=False, store=await open_sqlite(":memory:")) as host:
        versions = []
        for refresh_s in (3600.0, 3600.0, -1.0):
            monkeypatch.setattr("opspawn.ops.definitions.REFRESH_S", refresh_s)
            await host.submit_definition(asked)
            versions += [record.version for record in (await host.store.find("workflow", Query())).items]

    assert versions == [1, 1, 2]


async def _leaf(ctx: Any) -> None: ...


@tool(effect="read")
async def _look() -> str:
    """Look."""
    return "seen"
