"""Tails: events as they are committed, and deltas between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import Store
from opspawn.testing.store_promises import claim, commit, create, step

Item = Event | TaskDelta


async def take(tail: AsyncIterator[Item], count: int) -> list[Item]:
    """The next items of a tail."""
    async with asyncio.timeout(20):
        return [await anext(tail) for _ in range(count)]


async def numbers(tail: AsyncIterator[Item], count: int) -> list[int]:
    """The numbers in the next events of a tail; deltas are passed over."""
    found: list[int] = []
    while len(found) < count:
        (item,) = await take(tail, 1)
        if isinstance(item, Event):
            found.append(item.data["n"])
    return found


class TailPromises:
    """What `tail` and `publish` promise."""

    async def test_a_tail_shows_what_is_committed_from_now_on(self, store: Store) -> None:
        """From when `tail` was called, not from when it is first read; claims are shown as well."""
        await create(store)
        await commit(store, step({"n": 0}))
        tail = store.tail()
        await commit(store, step({"n": 1}))
        await claim(store)
        await commit(store, step({"n": 2}))
        shown = await take(tail, 3)
        assert shown == (await store.journal("t1"))[1:]

    async def test_a_tail_goes_on_from_a_position(self, store: Store) -> None:
        """The past after the position, then the present, in one order, without gap or repetition."""
        await create(store)
        receipt = await commit(store, *(step({"n": n}) for n in range(5)))
        tail = store.tail(after=receipt.positions[1])
        assert await numbers(tail, 2) == [2, 3]
        await commit(store, step({"n": 5}))
        assert await numbers(tail, 2) == [4, 5]
        again = store.tail(after=0)
        assert await numbers(again, 6) == list(range(6))

    async def test_a_tail_of_types_shows_these_events_alone(self, store: Store) -> None:
        """Of the past and of the present, whatever else is committed or published, and others see everything."""
        await create(store)
        types = ("step.done", "custom.b")
        tail, whole = store.tail(types=types), store.tail()
        seen: list[int] = []
        for n in range(0, 9, 3):
            await commit(store, step({"n": n}))
            await commit(store, step({"n": n + 1}, type="custom.a"), step({"n": n + 2}, type="custom.b"))
            store.publish([TaskDelta("t1", {"text": "x"})])
            shown = await take(tail, 2)
            seen += [item.data["n"] for item in shown if isinstance(item, Event)]
        assert seen == [0, 2, 3, 5, 6, 8]
        assert await numbers(whole, 9) == list(range(9))
        assert await numbers(store.tail(after=0, types=types), 6) == seen

    async def test_a_tail_is_in_order_while_many_commit(self, store: Store) -> None:
        """Every event once, positions growing, whoever commits meanwhile, and for every follower the same."""
        for n in range(5):
            await create(store, f"t{n}")

        async def writer(task: str) -> None:
            for n in range(100):
                await commit(store, step({"n": n}, task))

        tails = [store.tail() for _ in range(3)]
        reading = [asyncio.ensure_future(take(tail, 500)) for tail in tails]
        await asyncio.gather(*(writer(f"t{n}") for n in range(5)))
        shown = await asyncio.gather(*reading)
        positions = [item.position for item in shown[0] if isinstance(item, Event)]
        assert positions == sorted(set(positions))
        assert len(positions) == 500
        assert shown[1] == shown[0]
        assert shown[2] == shown[0]

    async def test_a_slow_follower_misses_no_event(self, store: Store) -> None:
        """One that reads nothing while thousands are committed gets them all afterwards, in order."""
        await create(store)
        tail = store.tail()
        await commit(store, step({"n": 0}))
        assert await numbers(tail, 1) == [0]
        for start in range(1, 3001, 500):
            await commit(store, *(step({"n": n}) for n in range(start, start + 500)))
        assert await numbers(tail, 3000) == list(range(1, 3001))
        await commit(store, step({"n": 3001}))
        assert await numbers(tail, 1) == [3001]

    async def test_deltas_reach_who_is_listening(self, store: Store) -> None:
        """Between events, in their order, and never in the journal."""
        await create(store)
        tail = store.tail()
        listening = asyncio.ensure_future(take(tail, 1))
        await commit(store, step({"n": 1}))
        await listening
        following = asyncio.ensure_future(take(tail, 2))
        deltas = [TaskDelta("t1", {"text": "a"}), TaskDelta("t1", {"text": "b"})]
        while not following.done():  # best effort: offered until it arrives
            store.publish(deltas)
            await asyncio.sleep(0.01)
        assert await following == deltas
        assert len(await store.journal("t1")) == 1

    async def test_publishing_to_nobody_is_fine(self, store: Store) -> None:
        """It never blocks and never fails, with a listener that does not read either."""
        store.publish([TaskDelta("t1", {})])
        tail = store.tail()
        reading = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0.05)
        for _ in range(5000):
            store.publish([TaskDelta("t1", {"text": "x"})])
        async with asyncio.timeout(20):
            await reading

    async def test_closing_the_store_ends_tails(self, store: Store) -> None:
        """Whoever waits is let go, and whoever comes later is not kept."""
        tail = store.tail()
        waiting = asyncio.ensure_future(anext(tail, None))
        await asyncio.sleep(0.05)
        await store.aclose()
        async with asyncio.timeout(20):
            assert await waiting is None
            assert await anext(store.tail(), None) is None
