"""Lanes that are closed, and requests to end, which pass."""

from __future__ import annotations

from typing import Any

from opspawn.contracts.store import SetLane, Store, TaskState, Wake
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, ids, put, the_task

CLOSE, OPEN = SetLane("function/work", False), SetLane("function/work", True)


class LanePromises:
    """What `SetLane` and `Wake(cancel=True)` promise."""

    async def test_a_closed_lane_is_served_to_nobody(self, store: Store) -> None:
        """In no queue; other handlers go on, and an opened one goes on where it was."""
        for n, queue in enumerate(("default", "other")):
            await create(store, a_task(f"t{n}", queue=queue))
        await create(store, a_task("t2", handler="function/other"))
        await commit(store, CLOSE)
        asked: dict[str, Any] = {"queues": ("default", "other"), "handlers": ("function/work", "function/other")}
        assert ids(await claim(store, **asked)) == ["t2"]
        await commit(store, OPEN)
        assert ids(await claim(store, **asked)) == ["t0", "t1"]

    async def test_closing_and_opening_may_be_said_again(self, store: Store) -> None:
        """It is a state and not a count."""
        await create(store)
        await commit(store, CLOSE, CLOSE)
        assert await claim(store) == []
        await commit(store, OPEN, OPEN)
        assert len(await claim(store)) == 1

    async def test_closing_takes_no_lease_away(self, store: Store) -> None:
        """What runs goes on, and is renewed; what comes back waits."""
        task = await created_and_claimed(store)
        await commit(store, CLOSE)
        (status,) = await store.renew("w1", [("t1", task.token)], 60.0)
        assert status.kept
        await put(store, task, TaskState.QUEUED)
        assert await claim(store) == []

    async def test_a_request_to_end_passes_a_closed_lane(self, store: Store) -> None:
        """Whether it comes before or after the closing, and also while the task stands in the lane already."""
        await create(store, "t1")
        task = await created_and_claimed_in_turn(store)
        await commit(store, Wake("t1", cancel=True), CLOSE, Wake(task, urgent=True, cancel=True))
        assert sorted(ids(await claim(store))) == ["t1", task]
        await create(store, "t3")
        assert await claim(store) == []

    async def test_a_claim_can_ask_for_those_that_are_to_end_alone(self, store: Store) -> None:
        """And leaves the others for later."""
        for id in ("t1", "t2", "t3"):
            await create(store, id)
        await commit(store, Wake("t2", cancel=True))
        assert ids(await claim(store, ending_only=True)) == ["t2"]
        assert await claim(store, ending_only=True) == []
        assert sorted(ids(await claim(store))) == ["t1", "t3"]

    async def test_a_request_to_end_is_not_forgotten(self, store: Store) -> None:
        """Neither by a lease that ends nor by a Put that gives the task back."""
        task = await created_and_claimed(store, lease_s=0.0)
        await commit(store, CLOSE, Wake("t1", cancel=True))
        (lease,) = await claim(store)
        assert lease.token == task.token + 1
        await put(store, lease.task, TaskState.QUEUED)
        assert len(await claim(store)) == 1

    async def test_a_request_to_end_wakes_like_any_other(self, store: Store) -> None:
        """`cancel` alone makes nothing due that is not."""
        await create(store, due_in_s=3600)
        await commit(store, Wake("t1", urgent=True, cancel=True))
        assert (await the_task(store)).wakes == 1
        assert await claim(store) == []


async def created_and_claimed_in_turn(store: Store) -> str:
    """A second task that waits, having been claimed before; the first is left where it is."""
    await create(store, a_task("t2", priority=5))
    (lease,) = await claim(store, slots=1)
    await put(store, lease.task, TaskState.WAITING, due_in_s=None)
    return lease.task.id
