"""Stores that share their data: each sees, and respects, what the other has done."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Any, ClassVar

import pytest

from opspawn.contracts.events import Event
from opspawn.contracts.store import Hold, Put, Query, Record, SetLane, Store, Take, TaskState
from opspawn.errors import Conflict, Limited
from opspawn.testing.store_promises import a_task, claim, commit, create, created_and_claimed, ids, put, step, the_task
from opspawn.testing.store_promises.capabilities import Capability, choose


class SharedPromises:
    """What `Capability.SHARED` promises."""

    capabilities: ClassVar[Set[Capability]] = frozenset()

    def __init_subclass__(cls, **more: Any) -> None:
        """Of a store that is not shared these are no tests."""
        super().__init_subclass__(**more)
        choose(cls, SharedPromises, Capability.SHARED, cls.capabilities)

    @pytest.fixture
    async def another(self, store: Store) -> Store:
        """A second store on the same data."""
        pytest.fail("A store that is shared fills the fixture `another`.")

    async def test_what_one_committed_the_other_reads(self, store: Store, another: Store) -> None:
        """As soon as the commit has returned."""
        for n in range(20):
            await create(store, f"t{n}", due_in_s=None)
            assert (await the_task(another, f"t{n}")).version == 1
        await commit(another, Put(Record("k", "i", {}, fields={"a": "x"}), 0))
        assert len((await store.find("k", Query({"a": "x"}))).items) == 1

    async def test_of_two_stores_one_claims_a_task(self, store: Store, another: Store) -> None:
        """However many claim at once, and the fence of one holds against the other."""
        for n in range(20):
            await create(store, f"t{n}")
        rounds = await asyncio.gather(
            *(claim(each, f"{n}", slots=3) for _ in range(4) for n, each in enumerate((store, another)))
        )
        claimed = [id for leases in rounds for id in ids(leases)]
        assert sorted(claimed) == sorted(f"t{n}" for n in range(20))
        lease = next(leases[0] for leases in rounds if leases)
        with pytest.raises(Conflict):
            await commit(another, step(task=lease.task.id, token=lease.token + 1))

    async def test_a_version_of_one_is_refused_after_the_other_wrote(self, store: Store, another: Store) -> None:
        """Of two that read the same version, one writes."""
        task = await create(store, due_in_s=None)
        tries = (put(each, task, TaskState.QUEUED, fenced=False) for each in (store, another) * 3)
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 5

    async def test_places_and_rates_and_lanes_are_common(self, store: Store, another: Store) -> None:
        """A limit holds over all who share."""
        for n in range(2):
            await create(store, a_task(f"t{n}", holds=(Hold("k", 1),)))
        (lease,) = await claim(store)
        assert await claim(another, "w2") == []
        await put(store, lease.task, TaskState.SUCCEEDED)
        assert ids(await claim(another, "w2")) == ["t1"]
        await commit(store, Take("k", 5.0, 0.001, 5.0))
        with pytest.raises(Limited):
            await commit(another, Take("k", 1.0, 0.001, 5.0))
        await create(store, "t2")
        await commit(another, SetLane("function/work", False))
        assert await claim(store) == []

    async def test_a_tail_of_one_shows_what_the_other_commits(self, store: Store, another: Store) -> None:
        """In the common order, without gap or repetition."""
        await create(store, due_in_s=None)
        tail = store.tail()
        for n in range(10):
            await commit((store, another)[n % 2], step({"n": n}))
        async with asyncio.timeout(20):
            shown = [await anext(tail) for _ in range(10)]
        assert [event.data["n"] for event in shown if isinstance(event, Event)] == list(range(10))

    async def test_a_store_that_closes_gives_up_its_leases(self, store: Store, another: Store) -> None:
        """What it still ran is due at once for the other."""
        task = await created_and_claimed(another)
        await another.aclose()
        (lease,) = await claim(store, "w2")
        assert (lease.task.id, lease.token) == (task.id, task.token + 1)
