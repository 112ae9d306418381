"""Sessions: what is declared, what follows from tasks, and which of the two is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from opspawn.contracts.lifecycle import Session, SessionState
from opspawn.contracts.store import Batch, Check, Claim, EventQuery, Lease, Operation, Put, Store, Task
from opspawn.errors import Conflict, InvalidInput, InvalidTransition, NotFound
from opspawn.ops import transitions
from opspawn.ops.agents.agents import Agents
from opspawn.ops.engine.engine import Engine
from opspawn.ops.sessions import sessions as sessions_module
from opspawn.ops.sessions.sessions import Sessions
from opspawn.ops.states import SESSION_MOVES
from opspawn.stores.sqlite import open_sqlite
from opspawn.wakers.local import LocalWaker

WORKS = SessionState.PROCESSING


@pytest.fixture
async def engine(store: Store) -> AsyncIterator[Engine]:
    waker = LocalWaker()
    made = Engine(store, waker, lambda handler, input: input)
    yield made
    await made.aclose()
    await waker.aclose()


@pytest.fixture
async def sessions(store: Store, agents: Agents, engine: Engine, clock: Any) -> Sessions:
    await agents.register("demo", name="Demo", contact_endpoint="https://agents.example/")
    return Sessions(store, agents, engine.cancel, clock=clock)


async def claim(store: Store) -> list[Lease]:
    return await store.claim(Claim("w", ("default",), ("function/f",), 10, 30.0))


async def end(store: Store, lease: Lease, error: str | None = None) -> None:
    told = {"type": "error", "message": error}
    ends = transitions.succeed(lease.task, "done") if error is None else transitions.fail(lease.task, told, 1)
    await store.commit(Batch(ends))


# -- declared ----------------------------------------------------------------------------------------------------------


async def test_a_session_begins_as_waiting(sessions: Sessions) -> None:
    session = await sessions.start_session("demo", "triage", {"user": 7})

    assert (session.agent, session.workflow, session.state) == ("demo", "triage", SessionState.WAITING)
    assert (session.metadata, session.ended, session.version) == ({"user": 7}, None, 1)
    assert session.started is not None
    assert await sessions.get(session.id) == session


async def test_nobody_starts_a_session_of_an_agent_that_is_not_there(sessions: Sessions) -> None:
    with pytest.raises(NotFound):
        await sessions.start_session("nobody")


@pytest.mark.parametrize("before", [SessionState.WAITING, SessionState.PROCESSING, SessionState.PAUSED])
@pytest.mark.parametrize("after", list(SessionState))
async def test_a_move_of_the_table_is_made(sessions: Sessions, before: SessionState, after: SessionState) -> None:
    session = await sessions.start_session("demo")
    await sessions.update_session("demo", session.id, {"status": before})

    assert after is before or after in SESSION_MOVES[before]
    assert (await sessions.update_session("demo", session.id, {"status": after})).state is after


@pytest.mark.parametrize("before", ["completed", "error", "cancelled"])
@pytest.mark.parametrize("after", list(SessionState))
async def test_an_end_is_final_and_dated_once(sessions: Sessions, clock: Any, before: str, after: SessionState) -> None:
    session = await sessions.start_session("demo")
    ended = await sessions.update_session("demo", session.id, {"status": before})
    clock.now += 60
    if after == before:
        assert (await sessions.update_session("demo", session.id, {"status": after})).ended == ended.ended
        return

    with pytest.raises(InvalidTransition, match=f"has ended: it is {before}"):
        await sessions.update_session("demo", session.id, {"status": after})
    assert await sessions.get(session.id) == ended


async def test_after_the_end_metadata_may_change_and_the_result_may_not(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")
    await sessions.update_session("demo", session.id, {"status": "completed", "result": {"n": 1}})

    noted = await sessions.update_session("demo", session.id, {"metadata": {"seen": True}})
    assert (noted.result, noted.metadata) == ({"n": 1}, {"seen": True})
    with pytest.raises(InvalidTransition, match="its result stands"):
        await sessions.update_session("demo", session.id, {"result": {"n": 2}})


async def test_the_words_of_the_first_ops_core_are_understood(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")

    assert (await sessions.update_session("demo", session.id, {"status": "RUNNING"})).state is WORKS
    assert (await sessions.update_session("demo", session.id, {"status": "failed"})).state is SessionState.ERROR


async def test_metadata_is_merged_key_by_key_and_null_removes(sessions: Sessions) -> None:
    session = await sessions.start_session("demo", metadata={"a": 1, "b": 2})
    merged = await sessions.update_session("demo", session.id, {"metadata": {"b": None, "c": 3}})

    assert merged.metadata == {"a": 1, "c": 3}


async def test_changes_at_the_same_time_are_all_kept(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")
    changes = [{"metadata": {f"k{n}": n}} for n in range(10)]
    await asyncio.gather(*(sessions.update_session("demo", session.id, change) for change in changes))

    assert (await sessions.get(session.id)).metadata == {f"k{n}": n for n in range(10)}


async def test_of_two_ends_at_the_same_time_one_counts_and_the_other_is_told(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")
    ends = [sessions.update_session("demo", session.id, {"status": word}) for word in ("completed", "error")]
    first, second = await asyncio.gather(*ends, return_exceptions=True)

    assert sorted(isinstance(one, InvalidTransition) for one in (first, second)) == [False, True]


async def test_who_has_seen_an_older_version_is_told_instead_of_overwriting(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")
    await sessions.update_session("demo", session.id, {"metadata": {"a": 1}}, version=1)

    with pytest.raises(Conflict, match="at version 2, no longer at 1"):
        await sessions.update_session("demo", session.id, {"metadata": {"a": 2}}, version=1)


async def test_an_agent_changes_its_own_sessions_only(sessions: Sessions, agents: Agents) -> None:
    await agents.register("other", name="Other", contact_endpoint="https://agents.example/")
    session = await sessions.start_session("demo")

    with pytest.raises(NotFound, match="none of the agent 'other'"):
        await sessions.update_session("other", session.id, {"status": "completed"})
    assert (await sessions.get(session.id)).state is SessionState.WAITING


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"endTime": "2026-01-01T00:00:00Z"}, "'endTime' of a session is set by"),
        ({"agentId": "x"}, "'agentId' of a session cannot be changed"),
        ({"status": "banana"}, "no status 'banana'"),
        ({"status": 3}, "no status 3"),
        ({"metadata": [1]}, "must be a JSON object"),
        ({"result": float("inf")}, "at result it has Infinity, which JSON does not know"),
        ({"result": ["\ud83d"]}, "half of a surrogate pair"),
        (["status"], "must be a JSON object"),
    ],
)
async def test_a_change_that_does_not_fit_is_refused_in_words(sessions: Sessions, changes: Any, told: str) -> None:
    session = await sessions.start_session("demo")

    with pytest.raises(InvalidInput, match=told):
        await sessions.update_session("demo", session.id, changes)


async def test_a_change_of_nothing_is_no_news(sessions: Sessions, store: Store) -> None:
    session = await sessions.start_session("demo", metadata={"a": 1})

    assert await sessions.update_session("demo", session.id, {}) == session
    assert await sessions.update_session("demo", session.id, {"status": "waiting", "metadata": {"a": 1}}) == session
    assert [event.type for event in await store.events(EventQuery(session=session.id))] == ["session.started"]


async def test_the_history_tells_what_was_changed(sessions: Sessions, store: Store) -> None:
    session = await sessions.start_session("demo")
    await sessions.update_session("demo", session.id, {"status": "error", "error": {"message": "no"}})

    started, updated = await store.events(EventQuery(session=session.id, agent="demo"))
    assert (started.type, updated.type, updated.level) == ("session.started", "session.updated", "error")
    assert updated.data == {"status": "error", "error": {"message": "no"}, "state": "error", "before": "waiting"}


async def test_sessions_are_found_by_agent_and_state(sessions: Sessions, agents: Agents) -> None:
    await agents.register("other", name="Other", contact_endpoint="https://agents.example/")
    one, two = await sessions.start_session("demo"), await sessions.start_session("demo")
    three = await sessions.start_session("other")
    await sessions.update_session("demo", one.id, {"status": "completed"})

    assert {each.id for each in (await sessions.find(agent="demo")).items} == {one.id, two.id}
    waiting = (await sessions.find(state=SessionState.WAITING)).items
    assert (await sessions.find(state="waiting")).items == waiting
    with pytest.raises(InvalidInput, match="no status 'asleep'"):
        await sessions.find(state="asleep")
    assert {each.id for each in waiting} == {two.id, three.id}


# -- what the tasks say ------------------------------------------------------------------------------------------------


async def submit(engine: Engine, session: Session | None = None, **more: Any) -> Any:
    return await engine.submit("function/f", agent="demo", session=session.id if session else None, **more)


async def test_tasks_move_their_session(sessions: Sessions, engine: Engine, store: Store) -> None:
    session = await sessions.start_session("demo")
    await submit(engine, session)
    await submit(engine, session)
    assert (await sessions.get(session.id)).state is SessionState.WAITING

    first, second = await claim(store)
    assert (await sessions.get(session.id)).state is WORKS
    await end(store, first)
    assert (await sessions.get(session.id)).state is WORKS
    await end(store, second)

    done = await sessions.get(session.id)
    assert (done.state, done.result, done.error) == (SessionState.COMPLETED, "done", None)
    assert done.ended == (await engine.task(second.task.id)).ended


async def test_a_session_whose_last_task_failed_is_in_error(sessions: Sessions, engine: Engine, store: Store) -> None:
    session = await sessions.start_session("demo")
    await submit(engine, session)
    await submit(engine, session)
    first, second = await claim(store)
    await end(store, first)
    await end(store, second, "no")

    failed = await sessions.get(session.id)
    assert (failed.state, failed.error) == (SessionState.ERROR, {"type": "error", "message": "no"})


async def test_a_parked_task_keeps_its_session_processing(sessions: Sessions, engine: Engine, store: Store) -> None:
    session = await sessions.start_session("demo")
    await submit(engine, session)
    (lease,) = await claim(store)
    await store.commit(Batch(transitions.park(lease.task, None, 0, "children")))

    assert (await sessions.get(session.id)).state is WORKS


async def test_a_conversation_goes_on_after_its_last_answer(sessions: Sessions, engine: Engine, store: Store) -> None:
    session = await sessions.start_session("demo")
    await submit(engine, session)
    await end(store, (await claim(store))[0])
    assert (await sessions.get(session.id)).state is SessionState.COMPLETED

    await submit(engine, session)
    again = await sessions.get(session.id)
    assert (again.state, again.ended) == (WORKS, None)


async def test_a_session_that_nobody_wrote_about_is_known_by_its_tasks(
    sessions: Sessions, engine: Engine, store: Store
) -> None:
    task = await submit(engine)
    session = await sessions.get(task.session)
    assert (session.agent, session.state, session.version) == ("demo", SessionState.WAITING, 0)
    assert session.started == task.created

    noted = await sessions.update_session("demo", task.session, {"metadata": {"a": 1}})
    assert (noted.metadata, noted.version, noted.started) == ({"a": 1}, 1, task.created)


async def test_a_session_with_unfinished_tasks_is_not_declared_done(sessions: Sessions, engine: Engine) -> None:
    session = await sessions.start_session("demo")
    task = await submit(engine, session)

    with pytest.raises(InvalidTransition, match=f"1 of its tasks have not ended.*{task.id}"):
        await sessions.update_session("demo", session.id, {"status": "completed"})


async def test_a_cancelled_session_ends_its_tasks(sessions: Sessions, engine: Engine, store: Store) -> None:
    session = await sessions.start_session("demo")
    claimed = await submit(engine, session)
    await claim(store)
    queued = await submit(engine, session)
    ended = await sessions.update_session("demo", session.id, {"status": "cancelled"})

    assert ended.state is SessionState.CANCELLED
    assert (await engine.task(queued.id)).state == "cancelled"
    assert [event.type for event in await engine.journal(claimed.id)][-1] == "cancel.requested"


async def test_what_a_crash_left_of_a_cancel_is_done_by_asking_again(
    sessions: Sessions, engine: Engine, store: Store, agents: Agents
) -> None:
    async def dies(id: str) -> Any:
        raise KeyboardInterrupt

    session = await sessions.start_session("demo")
    task = await submit(engine, session)
    with pytest.raises(KeyboardInterrupt):
        await Sessions(store, agents, dies).update_session("demo", session.id, {"status": "cancelled"})
    assert (await engine.task(task.id)).state == "queued"

    await sessions.update_session("demo", session.id, {"status": "cancelled"})
    assert (await engine.task(task.id)).state == "cancelled"


async def test_a_declared_pause_is_shown_until_the_work_has_ended(
    sessions: Sessions, engine: Engine, store: Store
) -> None:
    session = await sessions.start_session("demo")
    await submit(engine, session)
    (lease,) = await claim(store)
    await sessions.update_session("demo", session.id, {"status": "paused"})
    assert (await sessions.get(session.id)).state is SessionState.PAUSED

    await end(store, lease)
    assert (await sessions.get(session.id)).state is SessionState.COMPLETED


async def test_an_ended_session_takes_no_tasks(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")
    await sessions.admission("never-heard-of")
    await sessions.admission(session.id)
    await sessions.update_session("demo", session.id, {"status": "completed"})

    with pytest.raises(InvalidTransition, match="is completed"):
        await sessions.admission(session.id)


def a_task_of(session: str, admission: Operation) -> Batch:
    task = Task("t-late", "function/f", "t-late", session=session)
    return Batch([*transitions.accept(task, 0.0, None), admission])


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_a_task_that_was_let_in_before_the_end_is_not_taken_after_it(
    sessions: Sessions, store: Store, end: str
) -> None:
    session = await sessions.start_session("demo")
    admission = await sessions.admission(session.id)
    await sessions.update_session("demo", session.id, {"status": end})

    with pytest.raises(Conflict):
        await store.commit(a_task_of(session.id, admission))


@pytest.mark.parametrize("early", [True, False])
async def test_a_task_that_comes_while_an_end_is_declared_is_seen(
    sessions: Sessions, store: Store, monkeypatch: Any, early: bool
) -> None:
    """It was let in before the end was announced, or after it; and it comes when nobody looks for tasks any more."""
    session = await sessions.start_session("demo")
    admissions = [await sessions.admission(session.id)] if early else []
    look, looks = sessions_module.unfinished, []

    async def and_then(store: Store, id: str) -> Any:
        found = await look(store, id)
        looks.append(found)
        if len(looks) == 2:  # the end is announced, and this was the last look
            admissions.append(await sessions.admission(session.id))
            with suppress(Conflict):
                await store.commit(a_task_of(session.id, admissions[0]))
        return found

    monkeypatch.setattr(sessions_module, "unfinished", and_then)
    if early:
        assert (await sessions.update_session("demo", session.id, {"status": "completed"})).state == "completed"
        assert await store.get_task("t-late") is None
    else:
        with pytest.raises(InvalidTransition, match="1 of its tasks have not ended"):
            await sessions.update_session("demo", session.id, {"status": "completed"})
        assert await store.get_task("t-late") is not None


async def test_an_end_that_is_refused_leaves_the_session_as_it_was(sessions: Sessions, engine: Engine) -> None:
    session = await sessions.start_session("demo")
    await engine.submit("function/f", session=session.id)

    before = await sessions.get(session.id)
    with pytest.raises(InvalidTransition):
        await sessions.update_session("demo", session.id, {"status": "completed"})
    assert await sessions.get(session.id) == before
    assert isinstance(await sessions.admission(session.id), Check)


async def test_an_end_that_was_only_announced_stops_nobody(sessions: Sessions, store: Store, engine: Engine) -> None:
    """As by a process that died between the two commits: the next task takes the mark away, the next end goes on."""
    session = await sessions.start_session("demo")
    record = await store.get("session", session.id)
    assert record is not None
    marked = replace(record, data={**record.data, "closing": True})
    await store.commit(Batch([Put(marked, expect=1)]))

    admission = await sessions.admission(session.id)
    assert isinstance(admission, Put)
    await store.commit(Batch([admission]))
    assert isinstance(await sessions.admission(session.id), Check)
    await store.commit(Batch([Put(marked, expect=3)]))
    assert (await sessions.update_session("demo", session.id, {"status": "completed"}, version=4)).state == "completed"


async def test_whoever_ends_a_session_says_which_version_they_have_seen(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")

    with pytest.raises(Conflict, match="at version 1, no longer at 2"):
        await sessions.update_session("demo", session.id, {"status": "completed"}, version=2)
    assert (await sessions.update_session("demo", session.id, {"status": "completed"}, version=1)).state == "completed"


async def test_nobody_is_no_owner(sessions: Sessions) -> None:
    session = await sessions.start_session("demo")

    with pytest.raises(InvalidInput, match="agent_id"):
        await sessions.update_session(None, session.id, {"status": "completed"})  # type: ignore[arg-type]


async def test_a_lost_update_is_impossible_across_processes(tmp_path: Any) -> None:
    """Two stores on one file, as two servers would have: each change is merged with the other's."""
    stores = [await open_sqlite(str(tmp_path / "db")) for _ in range(2)]
    try:
        both = [Sessions(one, Agents(one), lambda id: None) for one in stores]  # type: ignore[arg-type, return-value]
        await Agents(stores[0]).register("demo", name="Demo", contact_endpoint="https://agents.example/")
        session = await both[0].start_session("demo")
        updates = [both[n % 2].update_session("demo", session.id, {"metadata": {f"k{n}": n}}) for n in range(8)]
        await asyncio.gather(*updates)

        assert (await both[1].get(session.id)).metadata == {f"k{n}": n for n in range(8)}
    finally:
        for one in stores:
            await one.aclose()


async def test_a_change_takes_what_tasks_take(sessions: Sessions) -> None:
    """A set becomes a list, as in an input or a result."""
    session = await sessions.start_session("demo")

    changed = await sessions.update_session("demo", session.id, {"result": {1, 2}})

    assert changed.result == [1, 2]
