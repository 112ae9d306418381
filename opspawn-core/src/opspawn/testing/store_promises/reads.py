"""Reading: journals, events over all tasks, and pages of tasks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, EventQuery, Query, Store, TaskState
from opspawn.errors import InvalidInput, StoreError
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, put, step, the_task


async def found(store: Store, **query: Any) -> list[int]:
    """The numbers of the events that match."""
    return [event.data["n"] for event in await store.events(EventQuery(**query))]


async def some_events(store: Store) -> None:
    """Six events, numbered, of three tasks."""
    await create(store, a_task("t1", agent="a1", session="s1"), due_in_s=None)
    await create(store, a_task("t2", agent="a1", session="s2", root="t1"), due_in_s=None)
    await create(store, a_task("t3"), due_in_s=None)
    await commit(store, step({"n": 1}, "t1"), step({"n": 2}, "t2", type="step.started"))
    await commit(
        store, step({"n": 3}, "t1", level="error", error_type="timeout"), step({"n": 4}, "t3", level="warning")
    )
    await commit(store, step({"n": 5}, "t3", level="error", error_type="tool_error"), step({"n": 6}, "t2"))


class ReadPromises:
    """What the reading methods promise."""

    async def test_what_was_committed_is_read(self, store: Store) -> None:
        """A read that starts after a commit has returned sees it, from wherever it is asked."""
        for n in range(50):
            await create(store, f"t{n}")
            assert (await the_task(store, f"t{n}")).version == 1
        assert await store.get_task("absent") is None

    async def test_a_journal_is_in_commit_order_and_whole(self, store: Store) -> None:
        """However many commits race, positions grow, and reading after a position continues without gap."""
        task = await created_and_claimed(store)
        receipts = await asyncio.gather(*(commit(store, step({"n": n}, token=task.token)) for n in range(1200)))
        journal = await store.journal("t1")
        assert len(journal) == 1201
        positions = [event.position for event in journal]
        assert positions == sorted(set(positions))
        assert {position for receipt in receipts for position in receipt.positions} == set(positions[1:])
        assert await store.journal("t1", after=positions[700]) == journal[701:]
        assert await store.journal("absent") == []

    async def test_an_event_carries_what_was_appended_and_where(self, store: Store) -> None:
        """Time is the commit's; agent and session are the task's."""
        await create(store, a_task(agent="a1", session="s1"))
        receipt = await commit(store, step({"n": [1, None]}, level="warning", error_type="timeout", type="custom.x"))
        (event,) = await store.journal("t1")
        assert (event.position, event.time) == (receipt.positions[0], receipt.time)
        assert (event.task, event.type, event.data) == ("t1", "custom.x", {"n": [1, None]})
        assert (event.level, event.error_type, event.agent, event.session) == ("warning", "timeout", "a1", "s1")

    async def test_events_come_oldest_first(self, store: Store) -> None:
        """Over all tasks, in the order of their positions."""
        await some_events(store)
        assert await found(store) == [1, 2, 3, 4, 5, 6]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"task": "t1"}, [1, 3]),
            ({"root": "t1"}, [1, 2, 3, 6]),
            ({"agent": "a1"}, [1, 2, 3, 6]),
            ({"session": "s2"}, [2, 6]),
            ({"error_type": "timeout"}, [3]),
            ({"level": "error"}, [3, 5]),
            ({"level": "info"}, [1, 2, 6]),
            ({"types": ("step.started", "step.retry")}, [2]),
            ({"agent": "a1", "session": "s1", "level": "error", "types": ("step.done",)}, [3]),
            ({"task": "t1", "agent": "nobody"}, []),
            ({"task": "absent"}, []),
        ],
    )
    async def test_events_are_filtered_by_everything_given(
        self, store: Store, query: dict[str, Any], expected: list[int]
    ) -> None:
        """Every given field must match."""
        await some_events(store)
        assert await found(store, **query) == expected

    async def test_events_are_bounded_by_position_and_number(self, store: Store) -> None:
        """`limit` takes the first, or with `newest` the last ones, still oldest first."""
        await some_events(store)
        second = (await store.events(EventQuery(limit=2)))[-1].position
        assert await found(store, limit=2) == [1, 2]
        assert await found(store, limit=2, newest=True) == [5, 6]
        assert await found(store, limit=3, position=second) == [3, 4, 5]
        assert await found(store, newest=True, root="t1", limit=1) == [6]

    async def test_events_are_bounded_by_time_half_open(self, store: Store) -> None:
        """From `after`, and before `before`."""
        await create(store)
        moments = []
        for n in range(3):
            moments.append((await commit(store, step({"n": n}))).time)
            await asyncio.sleep(0.002)
        assert await found(store, after=moments[1]) == [1, 2]
        assert await found(store, before=moments[1]) == [0]
        assert await found(store, after=moments[0], before=moments[2]) == [0, 1]
        assert await found(store, after=moments[2] + timedelta(days=1)) == []

    async def test_tasks_are_found_newest_first(self, store: Store) -> None:
        """In the reverse order of their creation, whatever happened to them since."""
        for n in range(3):
            await create(store, f"t{n}")
        await claim(store, slots=1)
        assert [task.id for task in (await store.find_tasks(Query())).items] == ["t2", "t1", "t0"]

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({"id": "t1"}, ["t1"]),
            ({"state": "failed"}, ["t1"]),
            ({"state": "succeeded"}, ["t2"]),
            ({"state": "queued"}, ["t3"]),
            ({"handler": "function/other"}, ["t3"]),
            ({"queue": "q"}, ["t3"]),
            ({"parent": "t1"}, ["t3", "t2"]),
            ({"root": "t1"}, ["t3", "t2", "t1"]),
            ({"agent": "a1"}, ["t2"]),
            ({"session": "s1"}, ["t3"]),
            ({"root": "t1", "state": "queued", "queue": "q"}, ["t3"]),
            ({"agent": "nobody"}, []),
            ({"retry_of": "t1"}, ["t3"]),
        ],
    )
    async def test_tasks_are_found_by_their_fields(
        self, store: Store, where: dict[str, str], expected: list[str]
    ) -> None:
        """Every given field must be equal."""
        await create(store, a_task("t1"))
        await create(store, a_task("t2", root="t1", parent="t1", agent="a1"))
        for lease, state in zip(await claim(store), (TaskState.FAILED, TaskState.SUCCEEDED), strict=True):
            await put(store, lease.task, state)
        moved = {"handler": "function/other", "queue": "q", "session": "s1", "retry_of": "t1"}
        await create(store, a_task("t3", root="t1", parent="t1", **moved))
        assert [task.id for task in (await store.find_tasks(Query(where=where))).items] == expected

    async def test_tasks_are_found_by_their_time_of_creation(self, store: Store) -> None:
        """Half open, like that of events."""
        created = []
        for n in range(3):
            created.append((await create(store, f"t{n}")).created)
            await asyncio.sleep(0.002)
        page = await store.find_tasks(Query(after=created[0], before=created[2]))
        assert [task.id for task in page.items] == ["t1", "t0"]

    async def test_tasks_are_found_by_their_labels(self, store: Store) -> None:
        """All that are asked for must match, with everything else; a Put changes them."""
        for id, labels in (("t1", {"a": "x"}), ("t2", {"a": "x", "b": "y"}), ("t3", {"a": "z", "quote'\"": "x"})):
            await create(store, a_task(id, labels=labels), due_in_s=None)

        async def labelled(**labels: str) -> list[str]:
            return [task.id for task in (await store.find_tasks(Query(labels=labels))).items]

        assert await labelled(a="x") == ["t2", "t1"]
        assert await labelled(a="x", b="y") == ["t2"]
        assert await labelled(**{"quote'\"": "x"}) == ["t3"]
        assert (await store.find_tasks(Query({"id": "t1"}, labels={"a": "z"}))).items == []
        await put(store, await the_task(store), TaskState.PAUSED, fenced=False, fields={"labels": {"a": "z"}})
        assert await labelled(a="x") == ["t2"]
        assert await labelled(a="z") == ["t3", "t1"]

    async def test_tasks_are_found_by_their_end(self, store: Store) -> None:
        """`ended_before` passes over those that have not ended; newest creation first, as always."""
        for n in range(4):
            await create(store, f"t{n}")
        leases = await claim(store, slots=3)
        for lease in (leases[1], leases[0], leases[2]):
            await put(store, lease.task, TaskState.SUCCEEDED)
            await asyncio.sleep(0.002)
        last = (await the_task(store, "t2")).ended
        assert [task.id for task in (await store.find_tasks(Query(ended_before=last))).items] == ["t1", "t0"]
        page = await store.find_tasks(Query(ended_before=last, limit=1))
        rest = await store.find_tasks(Query(ended_before=last, limit=1, cursor=page.cursor))
        assert [task.id for task in (*page.items, *rest.items)] == ["t1", "t0"]
        first = (await the_task(store, "t1")).ended
        assert (await store.find_tasks(Query(ended_before=first))).items == []

    async def test_an_event_may_belong_to_no_task(self, store: Store) -> None:
        """It carries the agent and session of its append, is found by them, and stands in the common order."""
        await create(store, a_task(agent="a1", session="s1"), due_in_s=None)
        tail = store.tail()
        apart = Append(None, NewEvent("custom.x", {"n": 2}), agent="a1", session="s2")
        await commit(store, step({"n": 1}), apart, step({"n": 3}))
        assert await found(store) == [1, 2, 3]
        assert await found(store, agent="a1") == [1, 2, 3]
        assert await found(store, session="s2") == [2]
        assert await found(store, session="s1") == [1, 3]
        event = (await store.events(EventQuery(session="s2")))[0]
        assert (event.task, event.agent, event.session) == (None, "a1", "s2")
        assert [await anext(tail) for _ in range(3)] == await store.events(EventQuery())
        with pytest.raises(StoreError):
            await commit(store, Append(None, NewEvent("custom.x"), token=1))

    async def test_pages_continue_without_gap_or_repetition(self, store: Store) -> None:
        """A cursor leads on from the last item, even if newer tasks came meanwhile; the last page has none."""
        for n in range(5):
            await create(store, f"t{n}")
        first = await store.find_tasks(Query(limit=2))
        await create(store, "newer")
        second = await store.find_tasks(Query(limit=2, cursor=first.cursor))
        third = await store.find_tasks(Query(limit=2, cursor=second.cursor))
        assert [task.id for page in (first, second, third) for task in page.items] == ["t4", "t3", "t2", "t1", "t0"]
        assert third.cursor is None
        assert (await store.find_tasks(Query(limit=6))).cursor is None

    @pytest.mark.parametrize(
        "query", [Query(where={"input": "x"}), Query(limit=0), Query(limit=201), Query(cursor="not a cursor")]
    )
    async def test_a_question_that_cannot_be_answered_is_refused(self, store: Store, query: Query) -> None:
        """Unknown fields, limits out of range and foreign cursors are the caller's mistakes."""
        with pytest.raises(InvalidInput):
            await store.find_tasks(query)

    async def test_an_event_limit_out_of_range_is_refused(self, store: Store) -> None:
        """1 to 1000."""
        for limit in (0, 1001):
            with pytest.raises(InvalidInput):
                await store.events(EventQuery(limit=limit))
