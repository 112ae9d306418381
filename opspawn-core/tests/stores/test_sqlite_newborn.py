"""A claim that travels with new tasks gets them as if it had looked behind their commits; they are written once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from opspawn.contracts.store import Batch, Claim, Hold, Lease, Put, SetLane, Task, TaskState, Wake
from opspawn.errors import Conflict
from opspawn.stores.sqlite import SqliteStore
from opspawn.testing.store_promises import a_task, claim, commit, create, ids, put, step, the_task

CLAIM = Claim("w1", ("default",), ("function/work",), 10, 30.0)


@pytest.fixture
async def store(store: SqliteStore) -> SqliteStore:
    await claim(store)  # the worker's lock is taken
    return store


def new(task: str | Task, **put: Any) -> Batch:
    """What accepts a task."""
    task = a_task(task) if isinstance(task, str) else task
    return Batch([Put(task, 0, **put), step(task=task.id, type="task.accepted")])


async def together(store: SqliteStore, *asked: Batch | Claim, statements: list[str] | None = None) -> list[Any]:
    """What commits and claims of one group answer."""
    with store._writer._lock:
        if statements is not None:
            store._writer._connection.set_trace_callback(statements.append)
        jobs = [store.claim(one) if isinstance(one, Claim) else store.commit(one) for one in asked]
        waiting = [asyncio.ensure_future(job) for job in jobs]
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    store._writer._connection.set_trace_callback(None)
    return answers


async def test_a_task_that_is_claimed_as_it_is_made_is_written_once(store: SqliteStore) -> None:
    """Neither is it looked for, nor has it a savepoint."""
    assert store._writer._checkpoints is not None
    store._writer._checkpoints._room._most = 0  # no room in the log, which is made between two groups
    statements: list[str] = []
    first, second, leases = await together(store, new("t1"), new("t2"), CLAIM, statements=statements)
    verbs = [statement.split()[0] for statement in statements if not statement.startswith("SELECT max")]
    assert verbs == ["BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]
    assert ids(leases) == ["t1", "t2"]
    assert (first.versions, second.versions) == ((1,), (1,))
    journal = await store.journal("t2")
    assert [event.type for event in journal] == ["task.accepted", "task.claimed"]
    assert journal[0].position == second.positions[0]
    assert journal[1].data == {"worker": "w1", "token": 1, "deliveries": 0}


async def test_its_lease_is_the_task_as_the_store_has_it(store: SqliteStore) -> None:
    """And it is the same as that of a task that was found."""
    asked = a_task(
        "t1", input={"x": [1.5]}, retry={"attempts": 2}, timeout_s=3, priority=-2, session="s", agent="a", parent="p"
    )
    lease: Lease
    _, (lease,) = await together(store, new(asked, deadline_in_s=60), CLAIM)
    assert lease.task == await the_task(store)
    assert type(lease.task.timeout_s) is float
    assert (lease.task.state, lease.task.owner, lease.token) == (TaskState.RUNNING, "w1", 1)
    assert lease.task.due is not None
    assert lease.task.created is not None
    assert (lease.task.due - lease.task.created).total_seconds() == 30
    await store.commit(new(replace(asked, id="t2", root="t2"), deadline_in_s=60))
    (found,) = await store.claim(CLAIM)
    times: dict[str, Any] = {"due": None, "created": None, "updated": None, "deadline": None}
    assert replace(found.task, id="t1", root=lease.task.root, **times) == replace(lease.task, **times)


async def test_the_lease_of_a_newborn_task_is_fenced_kept_and_lost_like_any(store: SqliteStore) -> None:
    _, (lease,) = await together(store, new("t1"), replace(CLAIM, lease_s=0.0))
    (again,) = await claim(store, "w2")
    assert (again.token, again.task.deliveries) == (2, 1)
    held = {"w1": lease.token, "w2": again.token}
    kept = [await store.renew(worker, [("t1", token)], 30.0) for worker, token in held.items()]
    assert [status.kept for (status,) in kept] == [False, True]
    with pytest.raises(Conflict):
        await commit(store, step(token=lease.token))
    await put(store, again.task, TaskState.SUCCEEDED)
    assert (await the_task(store)).state == "succeeded"


async def test_of_new_tasks_a_claim_gets_those_of_the_lowest_rank(store: SqliteStore) -> None:
    ranks = {"late": 0, "first": 2, "second": 1, "last": -1}
    *_, leases = await together(
        store, *(new(a_task(name, priority=rank)) for name, rank in ranks.items()), replace(CLAIM, slots=2)
    )
    assert ids(leases) == ["first", "second"]
    assert ids(await claim(store)) == ["late", "last"]


@pytest.mark.parametrize("waits", ["ready", "due", "ending", "parked"])
async def test_what_waits_is_claimed_before_what_begins(store: SqliteStore, waits: str) -> None:
    """In whatever way it waits: it has the lower rank, and there is one slot."""
    if waits in ("ready", "due"):
        await create(store, "old", due_in_s=0.05 if waits == "due" else 0.0)
    else:
        await create(store, "old")
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.WAITING, due_in_s=None if waits == "ending" else 0.05)
        if waits == "ending":
            await commit(store, SetLane("function/work", open=False), Wake("old", urgent=True, cancel=True))
    await asyncio.sleep(0.06)
    _, leases = await together(store, new("t1"), replace(CLAIM, slots=1))
    assert ids(leases) == ["old"]
    await commit(store, SetLane("function/work", open=True))
    assert ids(await claim(store)) == ["t1"]


async def test_what_may_not_be_claimed_yet_or_here_is_not(store: SqliteStore) -> None:
    """Of another queue or handler, from a closed lane, delayed, with places that it must take first."""
    await commit(store, SetLane("function/closed", open=False))
    held = a_task("held", holds=(Hold("k", 1),))
    others = [
        a_task("queue", queue="q"),
        a_task("handler", handler="function/x"),
        a_task("closed", handler="function/closed"),
    ]
    batches = [*(new(task) for task in others), new("delayed", due_in_s=60), new("t1")]
    asked = replace(CLAIM, handlers=("function/work", "function/closed"))
    *_, leases = await together(store, *batches, asked)
    assert ids(leases) == ["t1"]
    states = {name: (await the_task(store, name)).state for name in ("queue", "handler", "closed", "delayed")}
    assert set(states.values()) == {"queued"}
    *_, leases = await together(store, new(held), new(replace(held, id="held2", root="held2")), asked)
    assert ids(leases) == ["held"]


async def test_a_claim_hears_before_those_who_asked_for_what_it_gets(store: SqliteStore) -> None:
    """So the code of a run begins before its caller goes on, and nobody rings for what is claimed already."""
    heard: list[str] = []

    async def hear(what: str, answer: Any) -> None:
        await answer
        heard.append(what)

    async def work() -> None:
        """As a worker does: the claim begins a run, which begins its code."""
        await hear("claim", store.claim(CLAIM))
        await asyncio.create_task(run())

    async def run() -> None:
        await asyncio.create_task(code())

    async def code() -> None:
        heard.append("code")

    with store._writer._lock:
        asked = [hear("t1", store.commit(new("t1"))), hear("t2", store.commit(new("t2"))), work()]
        waiting = [asyncio.ensure_future(one) for one in asked]
        await asyncio.sleep(0.05)
    await asyncio.gather(*waiting)
    assert heard == ["claim", "code", "t1", "t2"]


async def test_two_claims_share_what_begins(store: SqliteStore) -> None:
    asked = [replace(CLAIM, slots=1), replace(CLAIM, worker="w2")]
    *_, one, two = await together(store, *(new(f"t{n}") for n in range(3)), *asked)
    assert [ids(one), ids(two)] == [["t0"], ["t1", "t2"]]
    assert (await the_task(store, "t2")).owner == "w2"


async def test_a_claim_for_those_that_are_to_end_gets_none_that_begins(store: SqliteStore) -> None:
    _, leases = await together(store, new("t1"), replace(CLAIM, ending_only=True))
    assert leases == []
    assert ids(await claim(store)) == ["t1"]


async def test_where_one_of_a_group_is_at_fault_a_claim_gets_the_others(store: SqliteStore) -> None:
    await create(store, "taken", due_in_s=None)
    fault, begun, leases = await together(store, new("taken"), new("t1"), CLAIM)
    assert isinstance(fault, Conflict)
    assert begun.versions == [1]
    assert ids(leases) == ["t1"]


async def test_a_claim_comes_behind_what_it_may_be_asked_for(store: SqliteStore) -> None:
    """What else a group does is done before its claims, as ever: a wake, a record, a task with a label."""
    labelled = a_task("t1", labels={"a": "b"})
    leases, *_ = await together(store, CLAIM, new("t2"), new(labelled))
    assert ids(leases) == ["t2"]  # it was asked for before the other
    *_, leases = await together(store, new(replace(labelled, id="t3", root="t3")), replace(CLAIM, worker="w2"))
    assert sorted(ids(leases)) == ["t1", "t3"]


async def test_a_former_life_is_ended_although_the_first_claim_is_done_again(store: SqliteStore, path: str) -> None:
    """The group of the first claim under a name is undone, since another in it is at fault."""
    await create(store, "held")
    await claim(store, "again")
    await create(store, "taken", due_in_s=None)
    store._locks.hold("again")  # type: ignore[union-attr]
    store._locks.still_reborn("again")  # type: ignore[union-attr]
    fault, leases = await together(store, new("taken"), replace(CLAIM, worker="again"))
    assert isinstance(fault, Conflict)
    assert [(lease.task.id, lease.task.deliveries) for lease in leases] == [("held", 1)]
