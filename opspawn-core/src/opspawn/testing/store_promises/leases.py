"""Leases: renewed, lost, given up."""

from __future__ import annotations

import asyncio

import pytest

from opspawn.contracts.store import LeaseStatus, Store, TaskState
from opspawn.errors import Conflict
from opspawn.testing.store_promises import (
    LONG,
    claim,
    claim_soon,
    commit,
    created_and_claimed,
    put,
    step,
    the_task,
    wake,
)


class LeasePromises:
    """What happens to leases."""

    async def test_a_task_whose_lease_ended_comes_back(self, store: Store) -> None:
        """Another worker gets it, with a new token, one delivery more, and the same version."""
        task = await created_and_claimed(store, lease_s=0.05)
        lease = await claim_soon(store, "w2")
        assert (lease.task.owner, lease.task.deliveries, lease.task.version) == ("w2", 1, task.version)
        assert lease.token == task.token + 1

    async def test_deliveries_count_on_while_leases_end(self, store: Store) -> None:
        """Each lost lease adds one."""
        await created_and_claimed(store, lease_s=0.0)
        counts = [(await claim_soon(store, "w1", lease_s=0.0)).task.deliveries for _ in range(3)]
        assert counts == [1, 2, 3]

    async def test_the_former_owner_is_fenced_out(self, store: Store) -> None:
        """Once another has claimed, the first can neither append, nor put, nor renew."""
        task = await created_and_claimed(store, lease_s=0.0)
        await claim_soon(store, "w2", lease_s=LONG)
        with pytest.raises(Conflict):
            await commit(store, step(token=task.token))
        with pytest.raises(Conflict):
            await put(store, task, TaskState.SUCCEEDED)
        assert await store.renew("w1", [("t1", task.token)], LONG) == [LeaseStatus("t1", False, 0)]
        assert (await the_task(store)).owner == "w2"

    async def test_a_former_claim_is_lost_even_to_its_own_worker(self, store: Store) -> None:
        """A worker that claims its own expired task again holds the new lease only."""
        former = await created_and_claimed(store, lease_s=0.0)
        lease = await claim_soon(store, "w1")
        statuses = await store.renew("w1", [("t1", former.token), ("t1", lease.token)], LONG)
        assert [status.kept for status in statuses] == [False, True]

    async def test_renewal_prolongs(self, store: Store) -> None:
        """A lease that was renewed in time outlives its first end, and the task keeps token and version."""
        task = await created_and_claimed(store, lease_s=0.5)
        (status,) = await store.renew("w1", [("t1", task.token)], LONG)
        await asyncio.sleep(0.6)
        assert status == LeaseStatus("t1", True, 0)
        assert await claim(store, "w2") == []
        renewed = await the_task(store)
        assert (renewed.token, renewed.version, renewed.owner) == (task.token, task.version, "w1")
        assert task.due is not None
        assert renewed.due is not None
        assert renewed.due > task.due

    async def test_one_call_renews_many_and_tells_of_each(self, store: Store) -> None:
        """The answer has the order of the question; ended, unknown and foreign leases are lost."""
        mine = await created_and_claimed(store, "mine")
        over = await created_and_claimed(store, "over")
        await put(store, over, TaskState.SUCCEEDED)
        foreign = await created_and_claimed(store, "foreign", worker="w2")
        asked = [("over", over.token), ("mine", mine.token), ("absent", 1), ("foreign", foreign.token)]
        statuses = await store.renew("w1", asked, LONG)
        assert [(status.task, status.kept) for status in statuses] == [
            ("over", False), ("mine", True), ("absent", False), ("foreign", False),
        ]  # fmt: skip

    async def test_renewal_tells_of_wakes(self, store: Store) -> None:
        """More wakes than before mean news in the journal."""
        task = await created_and_claimed(store)
        await commit(store, step(), wake())
        assert await store.renew("w1", [("t1", task.token)], LONG) == [LeaseStatus("t1", True, 1)]

    async def test_an_expired_lease_still_holds_until_somebody_claims(self, store: Store) -> None:
        """A late worker that nobody replaced may append, renew and go on."""
        task = await created_and_claimed(store, lease_s=0.0)
        await commit(store, step(token=task.token))
        (status,) = await store.renew("w1", [("t1", task.token)], LONG)
        assert status.kept
        assert await claim(store, "w2") == []
