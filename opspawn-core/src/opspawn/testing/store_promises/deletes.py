"""Deletes: of records, and of tasks that have ended."""

from __future__ import annotations

import pytest

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Delete, EventQuery, Put, Query, Record, Store, TaskState
from opspawn.errors import Conflict
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, ended, step, the_task


class DeletePromises:
    """What `Delete` promises."""

    async def test_a_deleted_record_is_gone(self, store: Store) -> None:
        """By its id and by its fields; it may be made anew, from version 1."""
        await commit(store, Put(Record("k", "i", {}, fields={"a": "x"}), 0), Put(Record("k", "j", {}), 0))
        await commit(store, Delete("k", "i", 1))
        assert await store.get("k", "i") is None
        assert [record.id for record in (await store.find("k", Query())).items] == ["j"]
        assert (await store.find("k", Query({"a": "x"}))).items == []
        receipt = await commit(store, Put(Record("k", "i", {}), 0))
        assert list(receipt.versions) == [1]

    async def test_an_event_of_no_task_is_deleted_by_its_position(self, store: Store) -> None:
        """It alone, and once; a task's events go with the task. The newest goes, too, and its position is not given
        again."""
        await create(store)
        await commit(store, step({"n": 1}), Append(None, NewEvent("a", {"n": 2})), Append(None, NewEvent("b")))
        first, second, third = await store.events(EventQuery())
        assert await store.events(EventQuery(apart=True)) == [second, third]
        for wrong in (str(first.position), str(third.position + 1), "no position", ""):
            with pytest.raises(Conflict):
                await commit(store, Delete("event", wrong, 0))
        await commit(store, Delete("event", str(third.position), 0), Delete("event", str(second.position), 0))
        with pytest.raises(Conflict):
            await commit(store, Delete("event", str(third.position), 0))
        assert await store.events(EventQuery()) == [first]
        assert await store.events(EventQuery(apart=True)) == []
        receipt = await commit(store, Append(None, NewEvent("c")))
        assert receipt.positions[0] > third.position

    async def test_a_delete_expects_a_version(self, store: Store) -> None:
        """Another version, or nothing there, is a conflict."""
        await commit(store, Put(Record("k", "i", {}), 0))
        await ended(store)
        for delete in (Delete("k", "i", 2), Delete("k", "j", 1), Delete("task", "t1", 1), Delete("task", "t2", 1)):
            with pytest.raises(Conflict):
                await commit(store, delete)
        assert await store.get("k", "i") is not None
        assert await store.get_task("t1") is not None

    async def test_a_deleted_task_is_gone_with_its_journal(self, store: Store) -> None:
        """Others are not touched."""
        task = await ended(store)
        await create(store, a_task("t2", labels={"a": "b"}), due_in_s=None)
        await commit(store, step({"n": 1}, "t2"))
        await commit(store, Delete("task", "t1", task.version))
        assert await store.get_task("t1") is None
        assert await store.journal("t1") == []
        assert [event.task for event in await store.events(EventQuery())] == ["t2"]
        assert [found.id for found in (await store.find_tasks(Query())).items] == ["t2"]
        assert await store.wakes(["t1"]) == {}

    @pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.RUNNING])
    async def test_a_task_that_has_not_ended_is_not_deleted(self, store: Store, state: TaskState) -> None:
        """Whatever it waits for."""
        if state is TaskState.RUNNING:
            await created_and_claimed(store)
        else:
            await create(store)
        with pytest.raises(Conflict):
            await commit(store, Delete("task", "t1", 1))
        assert (await the_task(store)).state is state

    async def test_an_id_may_be_given_again_after_a_delete(self, store: Store) -> None:
        """To a task of which nothing of the former remains."""
        task = await ended(store)
        await commit(store, Delete("task", "t1", task.version))
        await create(store, a_task(input="new"))
        (lease,) = await claim(store)
        assert (lease.task.input, lease.token, lease.task.labels) == ("new", 1, {})
        assert [event.type for event in await store.journal("t1")] == ["task.claimed"]

    async def test_no_position_is_given_twice(self, store: Store) -> None:
        """Also when the newest event was deleted: a tail that has shown it shows what comes after."""
        await create(store, "t2", due_in_s=None)
        task = await ended(store)
        await commit(store, Put(Record("k", "i", {}), 0))
        last = (await store.events(EventQuery(newest=True, limit=1)))[0].position
        tail = store.tail(after=last)
        await commit(store, Delete("task", "t1", task.version))
        receipt = await commit(store, step({"n": 1}, "t2"))
        assert receipt.positions[0] > last
        assert getattr(await anext(tail), "data", None) == {"n": 1}
        await commit(store, step({"n": 2}, "t2"))
        assert getattr(await anext(tail), "data", None) == {"n": 2}
        assert len(await store.events(EventQuery())) == 2
