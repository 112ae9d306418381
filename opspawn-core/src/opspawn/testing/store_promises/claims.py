"""Claims: what is due, in which lanes, in which order, to whom."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from opspawn.contracts.store import CLAIMED_AT_ONCE, Put, Store, TaskState
from opspawn.errors import StoreError
from opspawn.testing.store_promises import (
    a_task,
    claim,
    claim_soon,
    commit,
    create,
    created_and_claimed,
    ids,
    put,
    the_task,
)


class ClaimPromises:
    """What `claim` promises."""

    async def test_a_claim_leases_the_task(self, store: Store) -> None:
        """The lease shows the task as it now stands: running, owned, with a new token, due when the lease ends."""
        task = await create(store, a_task(input={"n": 1}))
        (lease,) = await claim(store, "w1", lease_s=30)
        assert (lease.task.state, lease.task.owner, lease.token) == (TaskState.RUNNING, "w1", task.token + 1)
        assert (lease.task.version, lease.task.deliveries, lease.task.input) == (1, 0, {"n": 1})
        assert lease.task.due is not None
        assert lease.task == await the_task(store)

    async def test_a_claim_is_journaled(self, store: Store) -> None:
        """The event names worker, token and deliveries."""
        task = await created_and_claimed(store)
        (event,) = await store.journal("t1")
        assert event.type == "task.claimed"
        assert event.data == {"worker": "w1", "token": task.token, "deliveries": 0}

    async def test_a_leased_task_is_not_claimed_again(self, store: Store) -> None:
        """Not by another, not by the same worker."""
        await created_and_claimed(store)
        assert await claim(store, "w2") == []
        assert await claim(store, "w1") == []

    async def test_many_claimers_get_each_task_once(self, store: Store) -> None:
        """Claims at the same time never share a task, and miss none."""
        for n in range(30):
            await create(store, f"t{n}")
        rounds = await asyncio.gather(*(claim(store, f"w{n % 3}", slots=4) for n in range(12)))
        claimed = [id for leases in rounds for id in ids(leases)]
        assert sorted(claimed) == sorted(f"t{n}" for n in range(30))

    async def test_no_more_than_the_slots(self, store: Store) -> None:
        """A worker gets what it has room for."""
        for n in range(3):
            await create(store, f"t{n}")
        assert await claim(store, slots=0) == []
        assert len(await claim(store, slots=2)) == 2
        assert len(await claim(store, slots=2)) == 1

    async def test_who_is_given_less_than_a_claim_gives_at_least_was_given_all(self, store: Store) -> None:
        """A store may bound what it gives at once, but not below what workers count on."""
        for n in range(CLAIMED_AT_ONCE + 6):
            await create(store, f"t{n}")
        claimed: list[str] = []
        while len(leases := await claim(store, slots=200)) >= CLAIMED_AT_ONCE:
            claimed += ids(leases)
        claimed += ids(leases)
        assert sorted(claimed) == sorted(f"t{n}" for n in range(CLAIMED_AT_ONCE + 6))

    async def test_only_the_lanes_asked_for(self, store: Store) -> None:
        """A lane is a queue and a handler; a claim names the lanes as queues x handlers."""
        for queue in ("q1", "q2"):
            for handler in ("function/a", "function/b"):
                await create(store, a_task(f"{queue} {handler}", queue=queue, handler=handler))
        assert ids(await claim(store, queues=("q1",), handlers=("function/a",))) == ["q1 function/a"]
        assert await claim(store, queues=(), handlers=("function/b",)) == []
        rest = await claim(store, queues=("q2", "q1"), handlers=("function/b", "function/a"))
        assert sorted(ids(rest)) == ["q1 function/b", "q2 function/a", "q2 function/b"]

    async def test_a_task_that_moved_is_claimed_from_its_new_lane(self, store: Store) -> None:
        """A Put may change queue and handler."""
        task = await create(store)
        await put(store, task, TaskState.QUEUED, fenced=False, fields={"queue": "other", "handler": "function/new"})
        assert await claim(store) == []
        assert ids(await claim(store, queues=("other",), handlers=("function/new",))) == ["t1"]

    async def test_first_come_first_served(self, store: Store) -> None:
        """Equal priorities are claimed in the order in which they became due, over all lanes."""
        for n, handler in enumerate(("function/b", "function/a", "function/b", "function/a")):
            await create(store, a_task(f"t{n}", handler=handler))
        lanes = ("function/a", "function/b")
        claimed = [(await claim(store, slots=1, handlers=lanes))[0].task.id for _ in range(4)]
        assert claimed == ["t0", "t1", "t2", "t3"]

    async def test_priority_is_a_head_start(self, store: Store) -> None:
        """One unit is worth 60 seconds: it beats who came within them, and not who waited longer."""
        await create(store, a_task("waited 90 s"), due_in_s=-90)
        await create(store, a_task("waited 30 s"), due_in_s=-30)
        await create(store, a_task("stands back", priority=-2), due_in_s=-30)
        await create(store, a_task("ahead by 60 s", priority=1))
        assert ids(await claim(store)) == ["waited 90 s", "ahead by 60 s", "waited 30 s", "stands back"]

    async def test_a_strict_priority_counts_before_any_waiting(self, store: Store) -> None:
        """A higher one is claimed first however long others have waited, a negative one last; 0 is as not strict."""
        for id, due_in_s, priority, strict in (
            ("long ago", -90_000, 9, False), ("strict", 0, 1, True), ("last", -99_000, -1, True), ("plain", 0, 0, True),
        ):  # fmt: skip
            await create(store, a_task(id, priority=priority, strict=strict), due_in_s=due_in_s)
        assert ids(await claim(store)) == ["strict", "long ago", "plain", "last"]

    @pytest.mark.parametrize("priority", [1001, -1001])
    async def test_priority_has_bounds(self, store: Store, priority: int) -> None:
        """Beyond them it is refused; at them it counts."""
        with pytest.raises(StoreError):
            await create(store, a_task(priority=priority))
        for strict in (True, False):
            await create(store, a_task(f"{strict}", priority=1000 if strict else -1000, strict=strict))
        assert ids(await claim(store)) == ["True", "False"]

    async def test_a_deadline_is_kept_for_others_to_read(self, store: Store) -> None:
        """In seconds from the commit, or as the record carries it; the store itself ends nothing."""
        receipt = await commit(store, Put(a_task(), 0, deadline_in_s=90.0))
        task = await the_task(store)
        assert task.deadline == receipt.time + timedelta(seconds=90)
        await create(store, a_task("t2", deadline=task.deadline))
        assert (await the_task(store, "t2")).deadline == task.deadline
        (lease,) = await claim(store, slots=1)
        await put(store, lease.task, TaskState.QUEUED)
        assert (await the_task(store)).deadline == task.deadline

    @pytest.mark.parametrize("when", [{"due_in_s": float("nan")}, {"due_in_s": 1e30}, {"deadline_in_s": float("inf")}])
    async def test_a_time_out_of_range_is_refused(self, store: Store, when: dict[str, Any]) -> None:
        """No number, or more than a hundred years away."""
        with pytest.raises(StoreError):
            await commit(store, Put(a_task(), 0, **when))
        assert await store.get_task("t1") is None

    async def test_a_delayed_task_comes_when_it_is_due(self, store: Store) -> None:
        """Not before its time, and by itself afterwards."""
        await create(store, "later", due_in_s=0.3)
        await create(store, "much later", due_in_s=3600)
        await create(store, "never", due_in_s=None)
        assert await claim(store) == []
        assert (await claim_soon(store)).task.id == "later"
        assert await claim(store) == []

    @pytest.mark.parametrize("state", [TaskState.PAUSED, TaskState.IN_DOUBT])
    async def test_a_task_that_waits_for_a_human_is_never_due(self, store: Store, state: TaskState) -> None:
        """Whatever `due_in_s` says; a Put as queued brings it back."""
        await put(store, await created_and_claimed(store), state, due_in_s=0.0)
        halted = await the_task(store)
        assert halted.due is None
        assert await claim(store) == []
        await put(store, halted, TaskState.QUEUED, fenced=False)
        assert ids(await claim(store)) == ["t1"]

    async def test_a_released_task_starts_again_with_the_deliveries_it_was_put_with(self, store: Store) -> None:
        """Giving back is no lost delivery: the next claim raises the token only."""
        task = await created_and_claimed(store)
        await put(store, replace(task, deliveries=2), TaskState.QUEUED)
        (lease,) = await claim(store, "w2")
        assert lease.task.deliveries == 2
        assert lease.token > task.token
