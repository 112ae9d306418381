"""Group commit: what travels together is durable together, and fails alone."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Put, Query, Receipt, Task, TaskState
from opspawn.errors import Conflict, StoreError
from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.stores.transaction import Transaction
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, step, the_task


async def test_commits_that_wait_share_a_transaction(store: SqliteStore) -> None:
    """All that came while the writer was busy have one time, since they were made durable by one fsync."""
    await create(store, due_in_s=None)
    with store._writer._lock:  # the writer cannot begin before all of them wait
        waiting = [asyncio.ensure_future(commit(store, step({"n": n}))) for n in range(20)]
        await asyncio.sleep(0.05)
    receipts = await asyncio.gather(*waiting)
    assert len({receipt.time for receipt in receipts[1:]}) == 1


async def test_a_conflict_in_a_group_rolls_back_itself_and_nothing_else(store: SqliteStore) -> None:
    """The savepoint: what a batch wrote before its conflict is undone, and its neighbours stay."""
    await create(store, due_in_s=None)
    with store._writer._lock:
        waiting = [
            asyncio.ensure_future(commit(store, step({"n": n}), Put(a_task(f"new{n}" if n % 2 else "t1"), 0)))
            for n in range(6)
        ]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [True, False] * 3
    assert [event.data["n"] for event in await store.journal("t1")] == [1, 3, 5]


async def test_an_append_under_a_lost_claim_fails_alone_among_others(store: SqliteStore) -> None:
    """Each append of a group is judged by its own fence, and hears its own position."""
    for task in ("t1", "t2"):
        await create(store, task)
    one, two = (lease.task for lease in await claim(store, slots=2))

    def step_of(task: Task, n: int, token: int) -> Append:
        return Append(task.id, NewEvent("step.done", {"n": n}), token)

    asked = [step_of(one, 1, 1), step_of(two, 2, 7), step_of(two, 3, 1), step_of(one, 4, 0), step_of(one, 5, 1)]
    with store._writer._lock:
        waiting = [asyncio.ensure_future(commit(store, append)) for append in asked]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True, False, True, False]
    assert "claim 7 of task" in str(outcomes[1])
    journal = [event for task in ("t1", "t2") for event in await store.journal(task) if event.type == "step.done"]
    told = [outcome.positions[0] for outcome in outcomes if isinstance(outcome, Receipt)]
    assert {event.position: event.data["n"] for event in journal} == dict(zip(told, [1, 3, 5], strict=True))


async def test_the_appends_of_a_group_are_one_statement_and_no_other(store: SqliteStore) -> None:
    """It is a transaction of its own, so that the writer's thread waits for the interpreter once."""
    store._writer._checkpoints._room._most = 0  # no room in the log, which is made between two groups
    await create(store, due_in_s=0)
    token = (await claim(store))[0].token
    statements: list[str] = []
    with store._writer._lock:
        store._writer._connection.set_trace_callback(statements.append)
        waiting = [asyncio.ensure_future(commit(store, step({"n": n}, token=token))) for n in range(5)]
        await asyncio.sleep(0.05)
    receipts = await asyncio.gather(*waiting)
    assert [statement.split("(")[0] for statement in statements] == ["INSERT INTO events "]
    journal = {event.position: event.data.get("n") for event in await store.journal("t1")}
    assert [journal[receipt.positions[0]] for receipt in receipts] == list(range(5))


@pytest.mark.parametrize("count", [1, 2, 5, 9, 37])
async def test_events_of_several_sorts_in_a_group_are_each_as_they_were_asked(store: SqliteStore, count: int) -> None:
    """What the events of a group have in common is said once, and what they have not is not."""
    await created_and_claimed(store)
    sorts = [NewEvent("step.done", {"n": 0}), NewEvent("step.failed", {"n": 0}, "warning", "timeout")]
    for some in (sorts[:1], sorts[1:], sorts):
        asked = [replace(some[n % len(some)], data={"n": n}) for n in range(count)]
        before = await store.journal("t1")
        with store._writer._lock:
            waiting = [asyncio.ensure_future(commit(store, Append("t1", event, 1))) for event in asked]
            await asyncio.sleep(0.02)
        positions = [receipt.positions[0] for receipt in await asyncio.gather(*waiting)]
        told = (await store.journal("t1"))[len(before) :]
        assert [(event.type, event.level, event.error_type, event.data) for event in told] == [
            (event.type, event.level, event.error_type, event.data) for event in asked
        ]
        assert [event.position for event in told] == positions


async def test_tasks_that_begin_go_on_and_end_are_a_statement_each(store: SqliteStore) -> None:
    """However many they are: each statement waits for the interpreter."""
    names = [f"t{n}" for n in range(8)]
    for name in names:
        await create(store, name)
    held = {lease.task.id: lease.task for lease in await claim(store)}
    statements: list[str] = []
    with store._writer._lock:
        store._writer._connection.set_trace_callback(statements.append)
        begun = [(Put(a_task(f"new{n}"), 0), step(task=f"new{n}", type="task.accepted")) for n in range(4)]
        going = [(step({"n": n}, name, held[name].token),) for n, name in enumerate(names[:4])]
        ends = [an_end(held[name], {"n": n}) for n, name in enumerate(names[4:])]
        waiting = [asyncio.ensure_future(commit(store, *batch)) for batch in (*begun, *going, *ends)]
        await asyncio.sleep(0.05)
    receipts = await asyncio.gather(*waiting)
    verbs = [statement.split()[0] for statement in statements if not statement.startswith("SELECT max")]
    assert verbs == ["BEGIN", "INSERT", "INSERT", "UPDATE", "COMMIT"]
    assert [receipt.versions for receipt in receipts] == [(1,)] * 4 + [()] * 4 + [(2,)] * 4
    positions = [position for receipt in receipts for position in receipt.positions]
    assert positions == list(range(positions[0], positions[0] + 12))
    for n, name in enumerate(names[4:]):
        task = await the_task(store, name)
        assert (task.state, task.result, task.token, task.owner) == ("succeeded", {"n": n}, 2, None)
        assert (await store.journal(name))[-1].type == "task.succeeded"
    assert [event.type for event in await store.journal("new3")] == ["task.accepted"]


async def test_of_those_that_begin_and_end_in_a_group_the_one_at_fault_fails_alone(store: SqliteStore) -> None:
    """A task that exists, a claim that is over, a version that nobody has: what is left is done."""
    for name in ("t1", "t2", "t3"):
        await create(store, name)
    held = {lease.task.id: lease.task for lease in await claim(store)}
    again, new = ((Put(a_task(name), 0), step(task=name, type="task.accepted")) for name in ("t1", "new"))
    stale = an_end(replace(held["t2"], version=7), 2)
    with store._writer._lock:
        batches = (again, new, an_end(held["t1"], 1), stale, an_end(held["t3"], 3))
        waiting = [asyncio.ensure_future(commit(store, *batch)) for batch in batches]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, Conflict) for outcome in outcomes] == [True, False, False, True, False]
    states = [(await the_task(store, name)).state for name in ("t1", "t2", "t3", "new")]
    assert states == ["succeeded", "running", "succeeded", "queued"]
    assert [event.type for event in await store.journal("t2")] == ["task.claimed"]


@pytest.mark.parametrize("fields", [{"labels": {"a": "b"}}, {"result": "x" * 40_000}, {"agent": "another"}])
async def test_an_end_that_changes_more_than_its_row_is_written_whole(store: SqliteStore, fields: Any) -> None:
    await create(store)
    (lease,) = await claim(store)
    await commit(store, *an_end(lease.task, **fields))
    task = await the_task(store)
    assert {name: getattr(task, name) for name in fields} == fields
    assert len((await store.find_tasks(Query(labels=fields.get("labels", {})))).items) == 1


async def test_what_ends_as_a_row_equals_what_ends_alone(store: SqliteStore) -> None:
    """The fields that nobody gave are none, not empty."""
    await create(store, a_task("t1", retry={"attempts": 2}, timeout_s=2.5, priority=3, session="s"))
    await create(store, a_task("t2", retry={"attempts": 2}, timeout_s=2.5, priority=3, session="s"))
    one, two = sorted((lease.task for lease in await claim(store)), key=lambda task: task.id)
    event, end = an_end(one, 1, error={"type": "x"}, attempt=2)
    await commit(store, event, end)
    other = step(task="t1", token=None)  # beside which the end is no plain one
    await commit(store, an_end(two, 1)[0], other, an_end(two, 1, error={"type": "x"}, attempt=2)[1])
    ends = [await the_task(store, name) for name in ("t1", "t2")]
    same = [replace(task, id="", root="", created=None, updated=None, ended=None) for task in ends]
    assert same[0] == same[1]
    assert all(task.ended is not None and task.due is None for task in ends)


def an_end(task: Task, result: Any = None, **fields: Any) -> tuple[Append, Put]:
    """What a worker commits at the end of a run."""
    done = replace(task, **{"state": TaskState.SUCCEEDED, "result": result, **fields})
    event = NewEvent("task.succeeded")
    return Append(task.id, event, task.token), Put(done, expect=task.version, token=task.token)


async def test_no_append_is_older_than_what_another_process_wrote_meanwhile(store: SqliteStore, path: str) -> None:
    """Its time is looked up before the transaction begins, in which another process may come first."""
    await create(store, due_in_s=0)
    token = (await claim(store))[0].token
    await commit(store, step({"n": 0}, token=token))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE events SET time = time + 60000000 WHERE position = (SELECT max(position) FROM events)")
    await commit(store, step({"n": 1}, token=token))
    times = [event.time for event in await store.journal("t1")]
    assert times == sorted(times)


async def test_an_append_that_cannot_be_written_fails_alone_among_others(store: SqliteStore) -> None:
    """What one of them does to the common statement hurts no other."""
    await create(store)
    (lease,) = await claim(store)
    events = [NewEvent("step.done", {"n": 1}), NewEvent("half a pair: \ud800"), NewEvent("step.done", {"n": 3})]
    with store._writer._lock:
        waiting = [asyncio.ensure_future(commit(store, Append("t1", event, lease.token))) for event in events]
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, StoreError) for outcome in outcomes] == [False, True, False]
    assert [event.data["n"] for event in await store.journal("t1") if event.type == "step.done"] == [1, 3]


async def test_a_transaction_that_is_lost_fails_all_its_commits(store: SqliteStore) -> None:
    """SQLite ends one by itself when the disk is full: then nobody of the group may be told that it succeeded."""
    await create(store, due_in_s=None)

    def lose(tx: Transaction, _: Any) -> None:
        tx.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    with store._writer._lock:
        before = asyncio.ensure_future(commit(store, step({"n": 1})))
        lost = asyncio.ensure_future(store._writer.run(lose, None))
        after = asyncio.ensure_future(commit(store, step({"n": 2})))
        await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(before, lost, after, return_exceptions=True)
    assert isinstance(outcomes[1], StoreError)
    assert "disk is full" in str(outcomes[1])
    told = [n for n, outcome in ((1, outcomes[0]), (2, outcomes[2])) if not isinstance(outcome, Exception)]
    assert [event.data["n"] for event in await store.journal("t1")] == told


async def test_a_full_disk_is_an_error_and_not_a_loss(store: SqliteStore) -> None:
    """The commit that does not fit fails with a remedy; those before are kept, and smaller ones go on."""
    await create(store, due_in_s=None)
    await commit(store, step({"n": 1}))
    pages = store._writer._connection.execute("PRAGMA page_count").fetchone()[0]
    store._writer._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="Free space"):
        await commit(store, step({"text": "x" * 100_000}))
    await commit(store, step({"n": 2}))
    assert [event.data["n"] for event in await store.journal("t1")] == [1, 2]


async def test_a_caller_that_gave_up_harms_nobody(store: SqliteStore) -> None:
    """Its commit may still be made; the others get their answers."""
    await create(store, due_in_s=None)
    with store._writer._lock:
        impatient = asyncio.ensure_future(commit(store, step({"n": 1})))
        patient = asyncio.ensure_future(commit(store, step({"n": 2})))
        await asyncio.sleep(0.05)
        impatient.cancel()
    await patient
    assert {event.data["n"] for event in await store.journal("t1")} >= {2}


async def test_a_store_serves_several_event_loops(store: SqliteStore) -> None:
    """Each answer arrives in the loop that asked, from any thread; one that was closed meanwhile is passed over."""
    await create(store, due_in_s=None)

    def in_a_loop_of_its_own(n: int) -> int:
        return asyncio.run(commit(store, step({"n": n}))).positions[0]

    positions = await asyncio.gather(*(asyncio.to_thread(in_a_loop_of_its_own, n) for n in range(4)))
    assert sorted(positions) == [event.position for event in await store.journal("t1")]


async def test_every_commit_is_synced_unless_told_otherwise(tmp_path: Path) -> None:
    """`synchronous` reaches the connection that writes: 2 is FULL, 1 is NORMAL."""
    for word, number in (("full", 2), ("normal", 1)):
        store = await open_sqlite(str(tmp_path / word), synchronous=word)  # type: ignore[arg-type]
        connection = store._writer._connection
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == number
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        await store.aclose()


async def test_a_claim_looks_only_at_what_is_ready_in_its_lanes(store: SqliteStore, path: str) -> None:
    """Every step of a claim goes through a partial index: ended tasks and other lanes cost nothing."""
    from opspawn.stores import claims

    await create(store)
    lanes = (claims._LANES, ("q", 0, "q", "q", 0, '["h"]'))
    with closing(sqlite3.connect(path)) as reader:
        for statement, arguments in (lanes, (claims._PROMOTE, ("q", "h", 0)), (claims._NEXT, ("q", "h", 0, 0, 1))):
            plan = " | ".join(row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}", arguments))
            assert "INDEX tasks_ready" in plan or "INDEX tasks_due" in plan
            assert "SCAN tasks" not in plan
            assert "TEMP B-TREE" not in plan
    assert len(await claim(store)) == 1


async def test_what_a_task_holds_is_stored_as_readable_text(store: SqliteStore, path: str) -> None:
    """Whoever opens the file with another tool sees JSON."""
    await create(store, Task("t1", "function/work", "t1", input={"ü": [1]}))
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT input, state FROM tasks").fetchall() == [('{"ü":[1]}', "queued")]
    assert (await the_task(store)).input == {"ü": [1]}
