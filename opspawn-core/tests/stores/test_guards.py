"""What keeps a store safe, one fast test for each line marked `# guard:`; each fails when its line is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from opspawn.contracts.store import Append, Batch, Claim, Delete, EventQuery, Hold, Put, Record, Store, Task, TaskState
from opspawn.errors import Conflict
from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.testing.store_promises import (
    a_task,
    claim,
    commit,
    create,
    created_and_claimed,
    ended,
    ids,
    put,
    step,
    the_task,
)


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await open_sqlite()
    yield store
    await store.aclose()


async def a_late_worker(store: Store) -> tuple[Task, Task]:
    """A task as its first worker knows it, and as the second that holds it now; the versions are the same."""
    first = await created_and_claimed(store, lease_s=0.0)
    (lease,) = await claim(store, "w2")
    assert lease.task.version == first.version
    return first, lease.task


async def test_the_fence_of_an_append(store: SqliteStore) -> None:
    late, current = await a_late_worker(store)
    for fenced in ([step(token=late.token)], [step(token=late.token), step()]):  # alone, and among others
        with pytest.raises(Conflict):
            await commit(store, *fenced)
    await commit(store, step(token=current.token))
    assert len(await store.journal("t1")) == 3


async def test_the_fence_of_a_put(store: SqliteStore) -> None:
    late, current = await a_late_worker(store)
    with pytest.raises(Conflict):
        await put(store, late, TaskState.SUCCEEDED)
    await put(store, current, TaskState.SUCCEEDED)


def end_of(task: Task, token: int) -> tuple[Append, Put]:
    """What a worker commits at the end of a run."""
    done = replace(task, state=TaskState.SUCCEEDED)
    return step(token=token, type="task.succeeded"), Put(done, expect=task.version, token=token)


async def test_the_fence_of_an_end_with_its_event(store: SqliteStore) -> None:
    late, current = await a_late_worker(store)
    with pytest.raises(Conflict):  # its event is what the current worker may write
        await commit(store, step(token=current.token), end_of(late, late.token)[1])
    assert (await the_task(store)).state is TaskState.RUNNING
    await commit(store, *end_of(current, current.token))


async def test_the_version_of_an_end_with_its_event(store: SqliteStore) -> None:
    held = await created_and_claimed(store)
    with pytest.raises(Conflict):
        await commit(store, *end_of(replace(held, version=held.version + 1), held.token))
    assert (await the_task(store)).state is TaskState.RUNNING
    await commit(store, *end_of(held, held.token))


async def test_the_version_of_a_task(store: SqliteStore) -> None:
    read = await create(store)
    await put(store, read, TaskState.PAUSED, fenced=False)
    with pytest.raises(Conflict):
        await put(store, read, TaskState.CANCELLED, fenced=False)
    assert (await the_task(store)).state is TaskState.PAUSED


async def test_the_version_of_a_record(store: SqliteStore) -> None:
    await commit(store, Put(Record("k", "i", {}), 0))
    await commit(store, Put(Record("k", "i", {"n": 2}), 1))
    for stale in (Put(Record("k", "i", {"n": 3}), 1), Delete("k", "i", 1)):
        with pytest.raises(Conflict):
            await commit(store, stale)
    assert await store.get("k", "i") is not None


async def test_the_savepoint_of_a_group(store: SqliteStore) -> None:
    """What a refused batch wrote before it was refused is not there, though its neighbours are."""
    await create(store, due_in_s=None)
    with store._writer._lock:  # the writer cannot begin before all of them wait
        waiting = [
            asyncio.ensure_future(commit(store, step({"n": n}), Put(a_task(f"new{n}" if n else "t1"), 0)))
            for n in range(2)
        ]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[0], Conflict)
    assert [event.data["n"] for event in await store.journal("t1")] == [1]


async def test_the_undoing_of_a_group_in_which_one_is_at_fault(store: SqliteStore) -> None:
    """What others began and appended before the fault showed is there once."""
    for task in ("t1", "t2"):
        await create(store, task)
    one, two = (lease.task for lease in await claim(store))
    stale = replace(two, version=two.version + 1)
    began = (Put(a_task("new"), 0), step(task="new", type="task.accepted"))
    with store._writer._lock:
        batches = (began, (step(token=one.token),), (step(task="t2", token=two.token), end_of(stale, two.token)[1]))
        waiting = [asyncio.ensure_future(commit(store, *batch)) for batch in batches]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, False, True]
    counts = [len(await store.journal(task)) for task in ("new", "t1", "t2")]
    assert counts == [1, 2, 1]  # with the claims of the two


async def test_the_lease_of_a_claim(store: SqliteStore) -> None:
    """What one worker holds is not claimed by another, until the lease has ended."""
    await create(store)
    (lease,) = await claim(store, "w1")
    assert lease.task.due is not None
    assert await claim(store, "w2") == []


async def test_the_end_of_a_lease(store: SqliteStore) -> None:
    """A task whose worker says nothing more is claimed by another."""
    await created_and_claimed(store, lease_s=0.0)
    assert ids(await claim(store, "w2")) == ["t1"]


async def test_the_id_of_a_batch(store: SqliteStore) -> None:
    await create(store, due_in_s=None)
    first, second = [await store.commit(Batch([step()], id="b")) for _ in range(2)]
    assert first == second
    assert len(await store.journal("t1")) == 1


async def test_the_id_of_a_claim(store: SqliteStore) -> None:
    for id in ("t1", "t2"):
        await create(store, id)
    asked = Claim("w", ("default",), ("function/work",), 1, 60.0, id="c")
    assert [ids(await store.claim(asked)) for _ in range(2)] == [["t1"], ["t1"]]


async def test_the_limit_of_a_key(store: SqliteStore) -> None:
    for id in ("t1", "t2"):
        await create(store, a_task(id, holds=(Hold("k", 1),)))
    assert ids(await claim(store)) == ["t1"]


async def test_the_places_of_a_lease_that_ran_out(store: SqliteStore) -> None:
    for id in ("t1", "t2"):
        await create(store, a_task(id, holds=(Hold("k", 1),), handler=f"function/{id}"))
    await claim(store, handlers=("function/t1",), lease_s=0.0)
    assert ids(await claim(store, handlers=("function/t2",))) == ["t2"]


async def test_the_end_of_a_task(store: SqliteStore) -> None:
    """Nothing is written to a task that has ended."""
    task = await ended(store)
    with pytest.raises(Conflict):
        await commit(store, Put(replace(task, state=TaskState.QUEUED), task.version))
    assert list((await commit(store, step())).positions) == [0]


async def test_the_position_of_a_deleted_event(store: SqliteStore) -> None:
    """The newest event is gone, and its place is not given to another."""
    await create(store, "t2", due_in_s=None)
    task = await ended(store)
    last = (await commit(store, step(task="t2"), step(task="t1"))).positions[0]
    await created_and_claimed(store, "t3")
    (newest,) = await store.events(EventQuery(newest=True, limit=1))
    await put(store, await the_task(store, "t3"), TaskState.SUCCEEDED)
    await commit(store, Delete("task", "t3", 2), Delete("task", "t1", task.version))
    assert (await commit(store, step(task="t2"))).positions[0] > newest.position > last
