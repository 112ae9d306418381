"""A worker that waits is given work by the commit that makes it ready: once, only if it can hear of it, and as it would
have claimed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from opspawn.contracts.store import Batch, Claim, Hold, Lease, Put, SetLane, Task
from opspawn.errors import Conflict
from opspawn.ops import transitions
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.handing import Mailbox
from opspawn_store_redis.store import RedisStore, open_redis


class Waiting:
    """A worker with a store of its own that waits for work."""

    def __init__(self, store: RedisStore, name: str) -> None:
        self.store = store
        self.name = name
        self.told = asyncio.Event()
        store.give_to(name, self.told.set)

    @property
    def mailbox(self) -> Mailbox:
        return self.store._mailboxes[self.name]

    async def claim(self, slots: int = 10) -> list[Lease]:
        return await self.store.claim(Claim(self.name, ("default", "other"), ("function/f",), slots, 30.0))

    async def wait(self) -> None:
        """Find nothing to do, and offer to take what comes."""
        while not self.mailbox._listens:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert await self.claim() == []

    async def given_leases(self) -> list[Lease]:
        await asyncio.wait_for(self.told.wait(), 20)
        return await self.claim()

    async def given(self) -> list[str]:
        return [lease.task.id for lease in await self.given_leases()]


@pytest.fixture
async def worker(config: RedisConfig) -> AsyncIterator[Waiting]:
    store = await open_redis(config)
    worker = Waiting(store, "w1")
    await worker.wait()
    yield worker
    await store.aclose()


async def accept(store: RedisStore, *ids: str, holds: tuple[Hold, ...] = ()) -> None:
    tasks = [Task(id=id, handler="function/f", root=id, holds=holds) for id in ids]
    await store.commit(Batch([operation for task in tasks for operation in transitions.accept(task)]))


async def state(store: RedisStore, id: str) -> tuple[str, str | None, int]:
    task = await store.get_task(id)
    assert task is not None
    return str(task.state), task.owner, task.token


async def end(store: RedisStore, lease: Lease) -> None:
    await store.commit(Batch(transitions.succeed(lease.task, None)))


async def test_who_waits_has_what_is_committed_without_asking_for_it(store: RedisStore, worker: Waiting) -> None:
    """It is leased with the commit, and the claim that returns it does not go to the server."""
    await accept(store, "t-1")
    assert await state(store, "t-1") == ("running", "w1", 1)
    await asyncio.wait_for(worker.told.wait(), 20)
    before = worker.store._calls.watermark.writes
    (lease,) = await worker.claim()
    assert (lease.task.id, lease.token, worker.store._calls.watermark.writes) == ("t-1", 1, before)
    assert [event.type for event in await store.journal("t-1")] == ["task.accepted", "task.claimed"]
    await end(worker.store, lease)
    assert (await state(store, "t-1"))[0] == "succeeded"
    assert await worker.claim() == []


async def test_who_holds_something_is_given_nothing_more(store: RedisStore, worker: Waiting) -> None:
    """Its event loop may be taken up by it. What it does not take is there for others."""
    await accept(store, "t-1")
    await worker.given()
    assert await worker.claim() == []
    await accept(store, "t-2")
    assert (await state(store, "t-2"))[0] == "queued"


async def test_who_has_ended_what_it_was_given_is_told_to_offer_itself_again(
    store: RedisStore, worker: Waiting
) -> None:
    for n in range(3):
        await accept(store, f"t-{n}")
        await asyncio.wait_for(worker.told.wait(), 20)
        (lease,) = await worker.claim()
        worker.told.clear()
        await end(worker.store, lease)
        await asyncio.wait_for(worker.told.wait(), 20)
        assert await worker.claim() == []
        worker.told.clear()


async def test_who_has_lost_what_it_held_is_told_to_offer_itself_again(store: RedisStore, worker: Waiting) -> None:
    await accept(store, "t-1", "t-2")
    first, second = await worker.given_leases()
    worker.told.clear()
    for lease in (first, second):
        await store.renew("w1", [(lease.task.id, lease.token)], 0.0)  # as if it had run out
    assert len(await store.claim(Claim("w2", ("default",), ("function/f",), 2, 30.0))) == 2
    assert [status.kept for status in await worker.store.renew("w1", [(first.task.id, 1)], 30.0)] == [False]
    with pytest.raises(Conflict):
        await end(worker.store, second)
    await asyncio.wait_for(worker.told.wait(), 20)
    assert await worker.claim() == []
    await accept(store, "t-3")
    assert (await state(store, "t-3"))[:2] == ("running", "w1")


async def test_who_cannot_hear_is_passed_over(store: RedisStore, worker: Waiting) -> None:
    """A worker that was killed has no connection any more, although its offer still stands."""
    await worker.mailbox.aclose()
    while (await store._calls.command("PUBSUB", "NUMSUB", worker.mailbox.channel))[1]:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert await store._calls.fetch("EXISTS", "offer:w1") == 1
    await accept(store, "t-1")
    assert (await state(store, "t-1"))[0] == "queued"
    assert await store._calls.fetch("LLEN", "wake:default") == 1


async def test_a_message_that_is_lost_costs_a_look_and_comes_once(store: RedisStore, worker: Waiting) -> None:
    """Named guard: what a claim returns is not given again, whether the message comes before its reply or after."""
    hear, lost = worker.mailbox._hear, asyncio.Queue[bytes]()

    worker.mailbox._hear = lambda data: lost.put_nowait(data)  # type: ignore[method-assign]
    for n, late in enumerate((False, True)):
        await accept(store, f"t-{n}")
        message = await lost.get()
        asking = asyncio.create_task(worker.claim())
        if not late:
            await asyncio.sleep(0)
            hear(message)
        (lease,) = await asking
        assert lease.task.id == f"t-{n}"
        if late:
            hear(message)
        await end(worker.store, lease)
        assert await worker.claim() == []


async def test_what_was_given_long_ago_counts_only_if_it_is_still_held(store: RedisStore, worker: Waiting) -> None:
    """Named guard: a worker counts its leases from when it gets them; it may have been suspended."""
    await accept(store, "t-1", "t-2")
    await asyncio.wait_for(worker.told.wait(), 20)
    worker.mailbox._offered -= 60.0
    await store.renew("w1", [("t-1", 1)], 0.0)  # as if it had run out
    (other,) = await store.claim(Claim("w2", ("default",), ("function/f",), 1, 30.0))
    assert other.task.id == "t-1"
    assert [lease.task.id for lease in await worker.claim()] == ["t-2"]


async def test_limits_and_closed_lanes_hold(store: RedisStore, worker: Waiting) -> None:
    await accept(store, "t-1", "t-2", holds=(Hold("one", 1),))
    assert sorted([(await state(store, "t-1"))[0], (await state(store, "t-2"))[0]]) == ["queued", "running"]
    (lease,) = [*await worker.claim()] or [*await worker.claim()]
    await store.commit(Batch([SetLane("function/f", open=False)]))
    await end(worker.store, lease)
    assert await worker.claim() == []
    await accept(store, "t-3")
    assert [(await state(store, id))[0] for id in ("t-1", "t-2", "t-3")].count("queued") == 2


async def test_those_who_wait_share_what_comes(config: RedisConfig, store: RedisStore, worker: Waiting) -> None:
    other_store = await open_redis(config)
    other = Waiting(other_store, "w2")
    await other.wait()
    await accept(store, *(f"t-{n}" for n in range(10)))
    assert (len(await worker.given()), len(await other.given())) == (5, 5)
    await other_store.aclose()


async def test_what_was_given_and_not_begun_goes_back_when_its_worker_stops(config: RedisConfig) -> None:
    stopping, store = await open_redis(config), await open_redis(config)
    worker = Waiting(stopping, "w1")
    await worker.wait()
    await accept(store, "t-1")
    await asyncio.wait_for(worker.told.wait(), 20)
    await stopping.aclose()
    assert await store._calls.fetch("EXISTS", "offer:w1") == 0
    (lease,) = await store.claim(Claim("w2", ("default",), ("function/f",), 1, 30.0))
    assert lease.token == 2
    await store.aclose()


async def test_an_offer_is_taken_once_whatever_comes_to_its_queues(store: RedisStore, worker: Waiting) -> None:
    """Of two queues, in one commit; the worker has as many slots as it has."""
    tasks = [
        Task(id=f"t-{queue}", handler="function/f", root=f"t-{queue}", queue=queue) for queue in ("default", "other")
    ]
    await store.commit(Batch([operation for task in tasks for operation in transitions.accept(task)]))
    assert sorted([(await state(store, task.id))[0] for task in tasks]) == ["queued", "running"]
    assert len(await worker.given()) == 1


async def test_an_offer_is_over_once_something_else_was_claimed(store: RedisStore, worker: Waiting) -> None:
    """A worker has as many slots as it has."""
    later = Task(id="t-1", handler="function/f", root="t-1")
    await store.commit(Batch([Put(later, 0, due_in_s=0.05)]))
    while not (claimed := await worker.claim(1)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await accept(store, "t-2")
    assert (await state(store, "t-2"))[0] == "queued"
    await end(worker.store, claimed[0])


async def test_a_queue_for_which_nobody_waits_any_more_leaves_no_key(store: RedisStore, worker: Waiting) -> None:
    """Each `opspawn run` has one of its own."""
    idle = f"{store._calls.prefix}idle:other"
    async with asyncio.timeout(20):
        while await store._calls.command("EXISTS", idle):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
