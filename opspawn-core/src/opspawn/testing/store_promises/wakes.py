"""Wakes: news for a task that runs or has parked, without a gap between looking and parking."""

from __future__ import annotations

import asyncio

import pytest

from opspawn.contracts.store import Store, TaskState
from opspawn.testing.store_promises import (
    claim,
    claim_soon,
    commit,
    create,
    created_and_claimed,
    put,
    step,
    the_task,
    wake,
)


class WakePromises:
    """What `Wake` and parking promise."""

    async def test_a_wake_raises_wakes_and_nothing_else(self, store: Store) -> None:
        """Neither version nor token nor the time of the task move."""
        task = await created_and_claimed(store)
        await commit(store, wake(), wake(urgent=True))
        after = await the_task(store)
        assert (after.wakes, after.version, after.token, after.due) == (2, task.version, task.token, task.due)

    async def test_a_put_never_writes_wakes(self, store: Store) -> None:
        """A wake that came between reading and writing stays counted."""
        task = await created_and_claimed(store)
        await commit(store, wake())
        await put(store, task, TaskState.WAITING, due_in_s=None)
        assert (await the_task(store)).wakes == 1

    async def test_wakes_are_cheap_to_look_at(self, store: Store) -> None:
        """`wakes` answers for those that exist."""
        await create(store, "t1")
        await create(store, "t2")
        await commit(store, wake("t2"), wake("absent"))
        assert await store.wakes(["t1", "t2", "absent"]) == {"t1": 0, "t2": 1}
        assert await store.wakes([]) == {}

    async def test_a_parked_task_waits_for_as_many_wakes_as_it_needs(self, store: Store) -> None:
        """It is due with the wake that completes the number, and not with one before."""
        task = await created_and_claimed(store)
        await put(store, task, TaskState.WAITING, due_in_s=None, wake_at=2)
        assert (await the_task(store)).due is None
        await commit(store, wake())
        assert await claim(store) == []
        receipt = await commit(store, wake())
        assert (await the_task(store)).due == receipt.time
        (lease,) = await claim(store)
        assert (lease.task.state, lease.task.deliveries, lease.task.wakes) == (TaskState.RUNNING, 0, 2)

    async def test_wakes_that_came_before_parking_count(self, store: Store) -> None:
        """A task that parks after the last wake it needs is due at once."""
        task = await created_and_claimed(store)
        await commit(store, wake(), wake())
        await put(store, task, TaskState.WAITING, due_in_s=None, wake_at=2)
        assert len(await claim(store)) == 1

    async def test_nothing_is_lost_between_looking_and_parking(self, store: Store) -> None:
        """Wakes and parking at the same time: the task always comes back."""
        for n in range(10):
            task = await created_and_claimed(store, f"t{n}")
            park = put(store, task, TaskState.WAITING, due_in_s=None, wake_at=3)
            await asyncio.gather(*(commit(store, wake(task.id)) for _ in range(2)), park, commit(store, wake(task.id)))
            assert (await claim_soon(store)).task.id == task.id

    async def test_an_urgent_wake_ends_any_waiting(self, store: Store) -> None:
        """Whatever number the task waits for, or none at all."""
        for id, wake_at in (("t1", 100), ("t2", None)):
            task = await created_and_claimed(store, id)
            await put(store, task, TaskState.WAITING, due_in_s=3600, wake_at=wake_at)
            assert await claim(store) == []
            await commit(store, wake(id, urgent=True))
            assert len(await claim(store)) == 1

    async def test_an_urgent_wake_before_parking_counts_unless_it_was_seen(self, store: Store) -> None:
        """`wakes_seen` says how far the worker had read: what it covers does not wake again, all else does."""
        task = await created_and_claimed(store)
        await commit(store, wake(urgent=True), wake())
        await put(store, task, TaskState.WAITING, due_in_s=None, wake_at=100, wakes_seen=1)
        assert await claim(store) == []
        await commit(store, wake(urgent=True))
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.WAITING, due_in_s=None, wake_at=100, wakes_seen=2)
        assert len(await claim(store)) == 1

    async def test_a_deadline_ends_waiting(self, store: Store) -> None:
        """A waiting task is due at its deadline, if it has one."""
        task = await created_and_claimed(store)
        await put(store, task, TaskState.WAITING, due_in_s=0.2, wake_at=100)
        assert await claim(store) == []
        assert (await claim_soon(store)).task.id == "t1"

    @pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.PAUSED, TaskState.IN_DOUBT])
    async def test_a_wake_moves_only_who_waits(self, store: Store, state: TaskState) -> None:
        """A delayed task keeps its delay and a halted one stays halted, however urgent."""
        await put(store, await created_and_claimed(store), state, due_in_s=3600, wake_at=1)
        before = await the_task(store)
        await commit(store, wake(), wake(urgent=True))
        assert (await the_task(store)).due == before.due
        assert await claim(store) == []

    async def test_an_inbox_event_and_its_wake_need_no_claim(self, store: Store) -> None:
        """Anybody may leave news for a running task; its owner's fence still holds."""
        task = await created_and_claimed(store)
        await commit(store, step(type="cancel.requested"), wake(urgent=True))
        await commit(store, step(token=task.token))
        assert [event.type for event in await store.journal("t1")] == ["task.claimed", "cancel.requested", "step.done"]
