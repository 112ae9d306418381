"""A follower neither misses nor repeats an event, whatever the moment in which it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Set

import pytest

from opspawn.contracts.events import Event, TaskDelta
from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.stores.tails import Follower
from opspawn.testing.store_promises import commit, create, step


@pytest.fixture
async def store() -> AsyncIterator[SqliteStore]:
    store = await open_sqlite()
    await create(store, due_in_s=None)
    yield store
    await store.aclose()


async def caught_up(follower: Follower) -> asyncio.Future[Event | TaskDelta]:
    """A wait for the next item that begins after everything there was has been read."""
    waiting = asyncio.ensure_future(anext(follower))
    async with asyncio.timeout(20):
        while follower._behind:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return waiting


async def test_an_event_offered_while_reading_is_not_missed(store: SqliteStore) -> None:
    """The reading that saw nothing is repeated, because of the offer that came meanwhile."""

    async def read(position: int, limit: int, types: Set[str]) -> list[Event]:
        page = await store._read_after(position, limit, types)
        if not follower._missed and not page:
            await commit(store, step({"n": 1}))
            async with asyncio.timeout(20):
                while not follower._missed:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        return page

    follower = Follower(store._hub, read, 0)
    async with asyncio.timeout(20):
        item = await anext(follower)
    assert isinstance(item, Event)
    assert item.data == {"n": 1}


async def test_an_event_offered_after_it_was_read_is_not_repeated(store: SqliteStore) -> None:
    """The offer was on its way while the follower read the same event from the database."""
    follower = Follower(store._hub, store._read_after, 0)
    await commit(store, step({"n": 1}))
    first = await anext(follower)
    assert isinstance(first, Event)
    waiting = await caught_up(follower)
    follower.post([first])
    await commit(store, step({"n": 2}))
    async with asyncio.timeout(20):
        second = await waiting
    assert isinstance(second, Event)
    assert second.data == {"n": 2}


async def test_a_follower_that_is_forgotten_is_not_served(store: SqliteStore) -> None:
    """Whoever drops it need not close it, and whoever closes it hears nothing more."""
    forgotten = Follower(store._hub, store._read_after, 0)
    closed = Follower(store._hub, store._read_after, 0)
    await commit(store, step({"n": 1}))
    await anext(forgotten)
    await anext(closed)
    assert len(store._hub._followers) == 2
    await closed.aclose()
    del forgotten
    assert len(store._hub._followers) == 0
    assert await anext(closed, None) is None


async def test_a_delta_never_overtakes_what_was_committed_before_it(store: SqliteStore) -> None:
    """A reader who sees the next answer begin has seen the tool call that it answers to end."""
    follower = Follower(store._hub, store._read_after, 0)
    waiting = await caught_up(follower)
    rounds = 200
    for number in range(rounds):
        await commit(store, step({"n": number}))
        store.publish([TaskDelta("t", {"kind": "text", "text": str(number)})])

    async with asyncio.timeout(20):
        seen = [await waiting, *[await anext(follower) for _ in range(2 * rounds - 1)]]

    told = [item.data["n"] if isinstance(item, Event) else item.data["text"] for item in seen]
    assert told == [each for number in range(rounds) for each in (number, str(number))]


async def test_deltas_of_nobody_who_follows_are_not_kept_for_later(store: SqliteStore) -> None:
    first = Follower(store._hub, store._read_after, 0)
    waiting = await caught_up(first)
    await first.aclose()
    waiting.cancel()
    await commit(store, step({"n": 1}))
    store.publish([TaskDelta("t", {"kind": "text", "text": "old"})])

    later = Follower(store._hub, store._read_after, store._hub.position())
    waiting = await caught_up(later)
    await commit(store, step({"n": 2}))

    async with asyncio.timeout(20):
        item = await waiting
    assert isinstance(item, Event)
    assert item.data["n"] == 2


async def test_a_follower_that_joined_while_the_others_were_read_for_misses_nothing(store: SqliteStore) -> None:
    """It was not among those whose types were read, so it reads for itself what was passed over."""
    follower = Follower(store._hub, store._read_after, 0)
    waiting = await caught_up(follower)
    with store._hub._guard:  # the hub's thread began to read before it knew of the follower, and offers nothing now
        store._hub._wanted = frozenset({"task.succeeded"})
        await commit(store, step({"n": 1}))
        store._hub._offer([], [], reached=store._hub.position())
        async with asyncio.timeout(5):
            item = await waiting
    assert isinstance(item, Event)
    assert item.data == {"n": 1}


async def test_what_comes_while_a_follower_catches_up_keeps_its_place(store: SqliteStore) -> None:
    """Words that have come while it reads are told before the events that followed them."""
    gate = asyncio.Event()

    async def read(position: int, limit: int, types: Set[str]) -> list[Event]:
        await gate.wait()
        return await store._read_after(position, limit, types)

    follower = Follower(store._hub, read, store._hub.position())
    first = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    for number in range(3):
        await commit(store, step({"n": number}))
        store.publish([TaskDelta("t", {"kind": "text", "text": str(number)})])

    async with asyncio.timeout(20):
        while len(follower._held) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        gate.set()
        seen = [await first, *[await anext(follower) for _ in range(5)]]

    told = [item.data["n"] if isinstance(item, Event) else item.data["text"] for item in seen]
    assert told == [0, "0", 1, "1", 2, "2"]
