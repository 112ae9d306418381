"""Following events of some types, each of which is a stream: in one order, complete, and long ones as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from loguru import logger

from opspawn.contracts.events import Event, NewEvent, TaskDelta
from opspawn.contracts.store import Append, Batch, Delete
from opspawn_store_redis import following
from opspawn_store_redis.store import RedisStore

LONG = "x" * 2000


async def followed(store: RedisStore, *committed: list[NewEvent]) -> list[tuple[str, object]]:
    """What somebody is told who follows `a` and `b` live."""
    tail = store.tail(types=("a", "b"))
    wanted = sum(event.type in ("a", "b") for events in committed for event in events)
    await store.commit(Batch([Append(None, NewEvent("a", {"n": "first"}))]))
    await anext(tail)

    async def follow() -> list[Event]:
        events: list[Event] = []
        while len(events) < wanted:
            event = await anext(tail)
            assert isinstance(event, Event)
            events.append(event)
        return events

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.1)  # until it has caught up, and is told of what comes
    for batch in committed:
        await store.commit(Batch([Append(None, event) for event in batch]))
    events = await asyncio.wait_for(following, 10)
    assert [event.position for event in events] == sorted(event.position for event in events)
    return [(event.type, event.data["n"]) for event in events]


async def test_events_of_several_types_come_in_one_order(store: RedisStore) -> None:
    events = [NewEvent("abc"[n % 3], {"n": n}) for n in range(40)]
    assert await followed(store, events) == [("abc"[n % 3], n) for n in range(40) if n % 3 < 2]


async def test_a_long_event_comes_whole_and_in_its_place(store: RedisStore) -> None:
    events = [NewEvent("a", {"n": 1}), NewEvent("b", {"n": LONG}), NewEvent("a", {"n": 2})]
    assert await followed(store, events) == [("a", 1), ("b", LONG), ("a", 2)]


async def test_nothing_is_missed_where_one_type_has_more_than_is_read_at_once(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named guard: what one type has beyond a page comes before what another has after it."""
    monkeypatch.setattr(following, "_ENTRIES", 2)
    events = [NewEvent("a", {"n": n}) for n in range(20)] + [NewEvent("b", {"n": 20})]
    assert await followed(store, events) == [("a", n) for n in range(20)] + [("b", 20)]


async def test_events_that_are_removed_while_they_are_told_of_are_no_fault(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gone when who was woken reads them."""
    faults: list[str] = []
    monkeypatch.setattr(following.logger, "bind", lambda **_: faults.append("told") or logger)
    tail = store.tail(types=("a",))
    await store.commit(Batch([Append(None, NewEvent("a", {"n": "first"}))]))
    await anext(tail)
    last = asyncio.create_task(until(tail, "last"))
    await asyncio.sleep(0.1)
    for n in range(500):
        receipt = await store.commit(Batch([Append(None, NewEvent("a", {"n": n}))]))
        await store.commit(Batch([Delete("event", str(receipt.positions[0]), 0)]))
    await store.commit(Batch([Append(None, NewEvent("a", {"n": "last"}))]))
    await asyncio.wait_for(last, 10)
    assert faults == []


async def until(tail: AsyncIterator[Event | TaskDelta], n: str) -> None:
    async for event in tail:
        if isinstance(event, Event) and event.data["n"] == n:
            return
