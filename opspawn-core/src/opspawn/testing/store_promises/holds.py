"""Holds: at most so many tasks of a key at once, whatever happens to them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opspawn.contracts.store import MAX_HOLDS, Delete, Hold, Put, Store, TaskState, Wake
from opspawn.errors import StoreError
from opspawn.testing.store_promises import a_task, claim, claim_soon, commit, create, ids, put, the_task

ONE, LASTING = Hold("k", 1), Hold("k", 1, "unfinished")


async def queue(store: Store, *names: str, holds: tuple[Hold, ...] = (ONE,), **fields: object) -> None:
    """Create tasks with holds, one after the other."""
    for name in names:
        await create(store, a_task(name, holds=holds, **fields))


class HoldPromises:
    """What `Task.holds` promises."""

    async def test_holds_come_back(self, store: Store) -> None:
        """As they were put, with the deadline and whether the priority is strict."""
        holds = (Hold("a", 1), Hold("b", 7, "unfinished"))
        await create(store, a_task(holds=holds, strict=True))
        task = await the_task(store)
        assert (task.holds, task.strict) == (holds, True)

    @pytest.mark.parametrize(
        "holds",
        [
            tuple(Hold(f"k{n}", 1) for n in range(MAX_HOLDS + 1)),
            (Hold("k", 1), Hold("k", 2)),
            (Hold("k", 0),),
            (Hold("k", 1, "always"),),  # type: ignore[arg-type]
        ],
    )
    async def test_holds_that_make_no_sense_are_refused(self, store: Store, holds: tuple[Hold, ...]) -> None:
        """Too many, a key twice, no place at all, an unknown duration."""
        with pytest.raises(StoreError):
            await queue(store, "t1", holds=holds)
        assert await store.get_task("t1") is None

    async def test_no_more_tasks_run_than_a_key_allows(self, store: Store) -> None:
        """Over all claims and workers, however many slots are free."""
        await queue(store, "t1", "t2", "t3", holds=(Hold("k", 2),))
        assert ids(await claim(store, "w1", slots=1)) == ["t1"]
        assert ids(await claim(store, "w2")) == ["t2"]
        assert await claim(store, "w1") == []

    async def test_who_needs_no_place_is_not_held_up(self, store: Store) -> None:
        """Tasks of other keys, and of none, are claimed past those that wait."""
        await queue(store, "t1", "t2", "t3")
        await queue(store, "t4", holds=(Hold("other", 1),))
        await queue(store, "t5", holds=())
        assert ids(await claim(store)) == ["t1", "t4", "t5"]

    @pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.QUEUED, TaskState.WAITING, TaskState.PAUSED])
    async def test_a_place_is_free_when_its_claim_ends(self, store: Store, state: TaskState) -> None:
        """However it ends; the next in line is due at once."""
        await queue(store, "t1", "t2")
        (lease,) = await claim(store)
        await put(store, lease.task, state, due_in_s=None)
        assert ids(await claim(store)) == ["t2"]

    async def test_a_place_for_the_whole_life_outlasts_parking(self, store: Store) -> None:
        """An "unfinished" hold is kept while the task waits, and claimed again without another place."""
        await queue(store, "t1", "t2", holds=(LASTING,))
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.WAITING, due_in_s=None)
        assert await claim(store) == []
        await commit(store, Wake("t1", urgent=True))
        (lease,) = await claim(store)
        assert lease.task.id == "t1"
        await put(store, lease.task, TaskState.FAILED)
        assert ids(await claim(store)) == ["t2"]

    async def test_a_place_for_the_whole_life_is_free_when_a_parked_task_is_ended(self, store: Store) -> None:
        """By anybody, without a claim."""
        await queue(store, "t1", "t2", holds=(LASTING,))
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.PAUSED)
        await put(store, await the_task(store), TaskState.CANCELLED, fenced=False)
        assert ids(await claim(store)) == ["t2"]

    async def test_a_lease_that_ran_out_holds_nothing(self, store: Store) -> None:
        """A worker that died keeps nobody waiting, in no lane; its task needs a place again."""
        await queue(store, "t1")
        await claim(store, lease_s=0.0)
        await queue(store, "t2", handler="function/other")
        (lease,) = await claim(store, "w2", handlers=("function/other",))
        assert await claim(store, "w3") == []
        await put(store, lease.task, TaskState.SUCCEEDED)
        (again,) = await claim(store, "w3")
        assert (again.task.id, again.task.deliveries) == ("t1", 1)

    async def test_a_lost_lease_keeps_a_place_for_the_whole_life(self, store: Store) -> None:
        """The task is not over: it comes back by itself, and nobody takes its place meanwhile."""
        await queue(store, "t1", "t2", holds=(LASTING,))
        await claim(store, slots=1, lease_s=0.0)
        assert ids(await claim(store, "w2")) == ["t1"]

    async def test_a_lease_whose_place_was_given_away_is_not_renewed(self, store: Store) -> None:
        """A late worker that nobody replaced goes on only if there is still room."""
        await queue(store, "t1", "t2")
        (late,) = await claim(store, "w1", lease_s=0.0, slots=1)
        await put(store, await the_task(store, "t2"), TaskState.QUEUED, fenced=False, fields={"priority": 1})
        (other,) = await claim(store, "w2", slots=1)
        assert other.task.id == "t2"
        assert not (await store.renew("w1", [("t1", late.token)], 60.0))[0].kept
        await put(store, other.task, TaskState.SUCCEEDED)
        assert (await store.renew("w1", [("t1", late.token)], 60.0))[0].kept
        await queue(store, "t3")
        assert await claim(store, "w2") == []

    async def test_a_lease_that_is_renewed_late_leaves_the_line(self, store: Store) -> None:
        """It stood before others there, who now step forward as far as there is room."""
        await queue(store, "t1", holds=(Hold("k", 2),), priority=1)
        await queue(store, "t2", "t3", holds=(Hold("k", 2),))
        (late,) = await claim(store, "w1", lease_s=0.0, slots=1)
        assert await claim(store, "w2", slots=0) == []
        assert (await store.renew("w1", [("t1", late.token)], 60.0))[0].kept
        assert ids(await claim(store, "w2")) == ["t2"]

    async def test_a_parked_task_that_is_woken_needs_its_place_again(self, store: Store) -> None:
        """It gets it at once if it is free, and else stands in line."""
        await queue(store, "t1", "t2")
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.WAITING, due_in_s=None)
        (other,) = await claim(store)
        await commit(store, Wake("t1", urgent=True))
        assert await claim(store) == []
        await put(store, other.task, TaskState.WAITING, due_in_s=None)
        (again,) = await claim(store)
        assert again.task.id == "t1"
        await put(store, again.task, TaskState.WAITING, due_in_s=None, wakes_seen=1)
        await commit(store, Wake("t2", urgent=True))
        assert ids(await claim(store)) == ["t2"]

    async def test_all_places_or_none(self, store: Store) -> None:
        """A task that lacks one place takes no other, so that nobody waits for one who waits."""
        both = (Hold("a", 1), Hold("b", 1))
        await queue(store, "t1", holds=both[1:])
        await queue(store, "t2", holds=both)
        await queue(store, "t3", holds=both[:1])
        first, third = await claim(store)
        assert (first.task.id, third.task.id) == ("t1", "t3")
        await put(store, first.task, TaskState.SUCCEEDED)
        assert await claim(store) == []
        await put(store, third.task, TaskState.SUCCEEDED)
        assert ids(await claim(store)) == ["t2"]

    async def test_a_line_is_served_by_rank(self, store: Store) -> None:
        """Waiting longer and priority count there as everywhere."""
        await queue(store, "running")
        (lease,) = await claim(store)
        await create(store, a_task("late", holds=(ONE,)))
        await create(store, a_task("early", holds=(ONE,)), due_in_s=-30)
        await create(store, a_task("urgent", holds=(ONE,), priority=1))
        served = []
        while lease.task.id != "late":
            await put(store, lease.task, TaskState.SUCCEEDED)
            (lease,) = await claim(store)
            served.append(lease.task.id)
        assert served == ["urgent", "early", "late"]

    async def test_a_line_reaches_over_lanes(self, store: Store) -> None:
        """A freed place serves whoever looks, also while the lane of the first in line has no worker or is closed."""
        await queue(store, "t1")
        (lease,) = await claim(store)
        await queue(store, "t2", handler="function/nobody")
        await queue(store, "t3", handler="function/other")
        assert await claim(store, handlers=("function/other", "function/nobody")) == []
        await put(store, lease.task, TaskState.SUCCEEDED)
        assert ids(await claim(store, handlers=("function/other",))) == ["t3"]

    @pytest.mark.parametrize("state", [TaskState.CANCELLED, TaskState.PAUSED])
    async def test_who_leaves_a_line_makes_way(self, store: Store, state: TaskState) -> None:
        """The next steps forward when the first was ended or halted before it was claimed, or moved to another lane."""
        await queue(store, "t1", "t2", "t3")
        (lease,) = await claim(store, slots=1)
        assert await claim(store) == []
        await put(store, lease.task, TaskState.SUCCEEDED)
        await put(store, await the_task(store, "t2"), state, fenced=False)
        assert ids(await claim(store)) == ["t3"]

    async def test_the_next_steps_forward_when_the_first_needs_another_place(self, store: Store) -> None:
        """One that lacks a second key holds up nobody who needs only the first."""
        await queue(store, "t1", holds=(Hold("b", 1),))
        await queue(store, "t2", holds=(Hold("a", 1), Hold("b", 1)))
        await queue(store, "t3", holds=(Hold("a", 1),))
        assert ids(await claim(store)) == ["t1", "t3"]

    async def test_a_delayed_task_joins_the_line_when_it_is_due(self, store: Store) -> None:
        """And steps forward by itself."""
        await create(store, a_task("t1", holds=(ONE,)), due_in_s=-1)
        await create(store, a_task("t2", holds=(ONE,)), due_in_s=0.05)
        (lease,) = await claim(store)
        assert lease.task.id == "t1"
        await put(store, lease.task, TaskState.SUCCEEDED)
        assert (await claim_soon(store)).task.id == "t2"

    async def test_a_put_may_change_holds(self, store: Store) -> None:
        """Who needs the place no longer is due at once; what is held already stays held."""
        await queue(store, "t1", "t2")
        await claim(store, slots=1)
        await put(store, await the_task(store, "t2"), TaskState.QUEUED, fenced=False, fields={"holds": ()})
        assert ids(await claim(store)) == ["t2"]

    async def test_a_request_to_end_needs_no_place(self, store: Store) -> None:
        """A task that somebody cancels is claimed past a full key, to be unwound, and takes none."""
        await queue(store, "t1", "t2", "t3")
        (lease,) = await claim(store, slots=1)
        await commit(store, Wake("t2", urgent=True, cancel=True))
        (cancelled,) = await claim(store)
        assert cancelled.task.id == "t2"
        await put(store, lease.task, TaskState.SUCCEEDED)
        assert ids(await claim(store)) == ["t3"]

    async def test_who_is_asked_to_end_makes_way(self, store: Store) -> None:
        """The first of a line goes past it, and the next steps forward."""
        await queue(store, "t1", "t2", "t3")
        (lease,) = await claim(store, slots=1)
        assert await claim(store) == []
        await put(store, lease.task, TaskState.SUCCEEDED)
        await commit(store, Wake("t2", cancel=True))
        assert ids(await claim(store)) == ["t2", "t3"]

    async def test_nothing_leaks(self, store: Store) -> None:
        """After ends, losses, deletes and refusals of all sorts the key has as many places as at first."""
        holds = (Hold("k", 2), Hold("l", 2, "unfinished"))
        for n in range(3):
            await queue(store, f"a{n}", f"b{n}", f"c{n}", holds=holds)
            one, two = await claim(store, slots=2)
            await put(store, one.task, TaskState.FAILED)
            await put(store, two.task, TaskState.WAITING, due_in_s=None)
            await put(store, await the_task(store, two.task.id), TaskState.CANCELLED, fenced=False)
            (three,) = await claim(store, lease_s=0.0)
            (again,) = await claim(store)
            with pytest.raises(StoreError):
                await put(store, three.task, TaskState.SUCCEEDED)
            await put(store, again.task, TaskState.SUCCEEDED)
            await commit(store, *[Delete("task", one.task.id, one.task.version + 1)])
        await queue(store, "t1", "t2", "t3", holds=holds)
        assert ids(await claim(store)) == ["t1", "t2"]

    async def test_a_conflict_takes_no_place(self, store: Store) -> None:
        """What a batch freed before it was refused is held again."""
        await queue(store, "t1", "t2")
        (lease,) = await claim(store)
        end = Put(replace(lease.task, state=TaskState.SUCCEEDED), lease.task.version, lease.token)
        with pytest.raises(StoreError):
            await commit(store, end, Delete("k", "absent", 1))
        assert await claim(store) == []
