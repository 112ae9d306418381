"""Stores whose content can be taken to another one, which then goes on as they would have."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from opspawn.contracts.events import NewEvent
from opspawn.contracts.moving import Kept, KeptRest, Movable
from opspawn.contracts.store import (
    INLINE_BYTES,
    Append,
    Delete,
    EventQuery,
    Hold,
    Put,
    Query,
    Record,
    SetLane,
    Take,
    TaskState,
    Wake,
)
from opspawn.errors import Conflict, Limited
from opspawn.testing.store_promises import (
    a_task,
    claim,
    claim_soon,
    commit,
    create,
    created_and_claimed,
    ended,
    ids,
    put,
    step,
    the_task,
    wake,
)
from opspawn.testing.store_promises.capabilities import Capability, choose

_LARGE = "x" * (INLINE_BYTES + 1)


async def everything(store: Movable) -> list[Kept]:
    """What a store holds, but for its time."""
    items = [item async for item in store.kept()]
    assert isinstance(items[-1], KeptRest)
    return [*items[:-1], replace(items[-1], time=datetime(2000, 1, 1, tzinfo=UTC))]


async def move(store: Movable, elsewhere: Movable) -> None:
    """Take everything from one to the other, in small pieces."""
    items = [item async for item in store.kept()]
    for n in range(0, len(items), 3):
        await elsewhere.restore(items[n : n + 3])


async def fill(store: Movable) -> None:
    """Some of everything."""
    await ended(store, "ended")
    await create(store, a_task("large", input=_LARGE, labels={"a": "b"}, agent="a1", session="s1"), due_in_s=None)
    await commit(store, step({"text": _LARGE}, "large"), step(task="large", error_type="e", level="error"))
    await put(store, await the_task(store, "large"), TaskState.FAILED, fenced=False, fields={"error": {"type": "e"}})
    await create(store, a_task("later", deadline=None, priority=3, strict=True), due_in_s=3000.0, deadline_in_s=9000.0)
    await commit(store, Put(Record("k", "i", {"n": 1}, fields={"a": "x"}), 0), Put(Record("b", "i", {}), 0))
    await commit(store, Put(Record("k", "i", {"n": 2}, fields={"a": "y"}), 1), Put(Record("k", "a", {}), 0))
    await commit(store, SetLane("function/closed", False), Take("rate", 5.0, 0.001, 5.0))
    await commit(store, Append(None, NewEvent("apart", {"n": 1}), agent="a1", session="s1"))
    last = await commit(store, Append(None, NewEvent("apart", {"n": 2})))
    await commit(store, Delete("event", str(last.positions[0]), 0))


class MovePromises:
    """What `Capability.MOVABLE` promises."""

    capabilities: ClassVar[Set[Capability]] = frozenset()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        choose(cls, MovePromises, Capability.MOVABLE, cls.capabilities)

    @pytest.fixture
    async def elsewhere(self, store: Movable) -> Movable:
        """An empty store."""
        pytest.fail("A store that is movable fills the fixture `elsewhere`.")

    async def test_everything_stands_elsewhere_as_it_stood(self, store: Movable, elsewhere: Movable) -> None:
        """Records, tasks, journals and the rest, with versions, times and positions; and is found there."""
        await fill(store)
        await created_and_claimed(store)
        await move(store, elsewhere)
        assert await everything(elsewhere) == await everything(store)
        for query in (Query({"state": "failed"}), Query(labels={"a": "b"}), Query({"session": "s1"}), Query(limit=2)):
            found = (await elsewhere.find_tasks(query)).items
            assert found == (await store.find_tasks(query)).items
            assert found
        assert (await elsewhere.find("k", Query({"a": "y"}))).items == (await store.find("k", Query({"a": "y"}))).items
        for asked in (
            EventQuery(agent="a1"),
            EventQuery(error_type="e"),
            EventQuery(apart=True),
            EventQuery(task="large"),
        ):
            events = await elsewhere.events(asked)
            assert events == await store.events(asked)
            assert events

    async def test_positions_and_rates_and_lanes_go_on(self, store: Movable, elsewhere: Movable) -> None:
        """No position is given again, nothing is spent twice, and what is closed stays so."""
        await fill(store)
        await move(store, elsewhere)
        expected = await commit(store, Append(None, NewEvent("next")))
        receipt = await commit(elsewhere, Append(None, NewEvent("next")))
        assert list(receipt.positions) == list(expected.positions)
        with pytest.raises(Limited):
            await commit(elsewhere, Take("rate", 1.0, 0.001, 5.0))
        await create(elsewhere, a_task("shut", handler="function/closed"))
        assert await claim(elsewhere, handlers=("function/closed",)) == []

    async def test_what_waits_elsewhere_comes_when_it_would_have(self, store: Movable, elsewhere: Movable) -> None:
        """Queued tasks in order; parked ones by their wakes; ends that were asked for, from a closed lane, too."""
        for id in ("by-count", "by-urgency"):
            task = await created_and_claimed(store, id, worker=id)
            await put(store, task, TaskState.WAITING, due_in_s=None, wake_at=2)
        await commit(store, wake("by-count"))
        await create(store, "second")
        await create(store, a_task("first", priority=1))
        await create(store, a_task("to-end", handler="function/shut"))
        await commit(store, Wake("to-end", cancel=True), SetLane("function/shut", False))
        await move(store, elsewhere)
        assert ids(await claim(elsewhere)) == ["first", "second"]
        assert ids(await claim(elsewhere, handlers=("function/shut",))) == ["to-end"]
        await commit(elsewhere, wake("by-count"), wake("by-urgency", urgent=True))
        assert sorted(ids(await claim(elsewhere))) == ["by-count", "by-urgency"]

    async def test_a_lease_and_its_places_end_elsewhere(self, store: Movable, elsewhere: Movable) -> None:
        """The fence holds, the place stays taken, and when the lease ends the task comes back as a lost one."""
        hold, lasting = Hold("k", 1), Hold("l", 1, "unfinished")
        await create(store, a_task("held", holds=(hold, lasting)))
        (lease,) = await claim(store, lease_s=1.0)
        await create(store, a_task("next", holds=(hold, lasting)))
        await create(store, a_task("last", holds=(lasting,)))
        await move(store, elsewhere)
        await commit(elsewhere, step(task="held", token=lease.token))
        with pytest.raises(Conflict):
            await commit(elsewhere, step(task="held", token=lease.token + 1))
        found = await claim_soon(elsewhere, "w2", lease_s=60.0)
        assert (found.task.id, found.token, found.task.deliveries) == ("held", lease.token + 1, 1)
        assert await claim(elsewhere, "w3") == []
        await put(elsewhere, found.task, TaskState.SUCCEEDED)
        assert len(await claim(elsewhere, "w3")) == 1

    async def test_a_move_that_is_repeated_does_no_harm(self, store: Movable, elsewhere: Movable) -> None:
        """Whole, or from where it was interrupted."""
        await fill(store)
        items = [item async for item in store.kept()]
        await elsewhere.restore(items[: len(items) // 2])
        for _ in range(2):
            await move(store, elsewhere)
        assert await everything(elsewhere) == await everything(store)

    async def test_what_is_there_in_another_version_is_not_overwritten(
        self, store: Movable, elsewhere: Movable
    ) -> None:
        """Nothing of the piece is restored then."""
        await create(store, "t0", due_in_s=None)
        await commit(store, Put(Record("k", "i", {}), 0))
        await create(store, "t1", due_in_s=None)
        await put(store, await the_task(store), TaskState.PAUSED, fenced=False)
        await create(elsewhere, "t1", due_in_s=None)
        tasks = [item async for item in store.kept()][:2]
        with pytest.raises(Conflict):
            await elsewhere.restore(tasks)
        assert await elsewhere.get_task("t0") is None
        await commit(elsewhere, Put(Record("k", "i", {}), 0), Put(Record("k", "i", {}), 1))
        with pytest.raises(Conflict):
            await move(store, elsewhere)
        with pytest.raises(Conflict):
            await elsewhere.restore([replace((await _an_event(store)), task="nobody")])


async def _an_event(store: Movable) -> Any:
    await commit(store, step(task="t0"))
    return (await store.events(EventQuery(newest=True, limit=1)))[0]
