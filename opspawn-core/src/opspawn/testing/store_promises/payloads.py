"""Large values: kept once, shown whole or by a stand-in, gone with the last who refers to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from opspawn.contracts.events import Event
from opspawn.contracts.store import INLINE_BYTES, MAX_BATCH_BYTES, Delete, EventQuery, Put, Query, Store, TaskState
from opspawn.errors import NotFound, StoreError
from opspawn.testing.store_promises import a_task, claim, commit, create, ended, put, step, the_task

LARGE = {"text": "\u00e4" * INLINE_BYTES}


def digest(shown: Any) -> str:
    """The digest in a stand-in, which it must be."""
    assert shown.keys() == {"$payload", "bytes"}
    assert shown["bytes"] > INLINE_BYTES
    return str(shown["$payload"])


async def page_of(store: Store, id: str = "t1") -> Any:
    """The task as a page shows it."""
    return (await store.find_tasks(Query({"id": id}))).items[0]


class PayloadPromises:
    """What values over `INLINE_BYTES` are promised."""

    async def test_a_large_value_is_read_whole_where_it_is_needed(self, store: Store) -> None:
        """By `get_task`, `journal` and a claim."""
        await create(store, a_task(input=LARGE))
        await commit(store, step(LARGE))
        (lease,) = await claim(store)
        await put(store, lease.task, TaskState.SUCCEEDED, fields={"result": [LARGE]})
        task = await the_task(store)
        assert (lease.task.input, task.input, task.result) == (LARGE, LARGE, [LARGE])
        assert (await store.journal("t1"))[0].data == LARGE

    async def test_pages_show_a_stand_in(self, store: Store) -> None:
        """`find_tasks`, `events` and `tail` carry its digest and size, and `payload` has the value."""
        tail = store.tail()
        await create(store, a_task(input=LARGE))
        await commit(store, step(LARGE))
        (event,) = await store.events(EventQuery())
        shown = await anext(tail)
        assert isinstance(shown, Event)
        for stand_in in ((await page_of(store)).input, event.data, shown.data):
            assert await store.payload(digest(stand_in)) == LARGE

    async def test_a_small_value_is_shown_as_it_is(self, store: Store) -> None:
        """Up to and with `INLINE_BYTES` of JSON."""
        await create(store, a_task(input="x" * (INLINE_BYTES - 2), result="x" * (INLINE_BYTES - 1)))
        task = await page_of(store)
        assert len(task.input) == INLINE_BYTES - 2
        digest(task.result)

    async def test_an_unknown_digest_is_not_found(self, store: Store) -> None:
        """Whatever it looks like."""
        for unknown in ("", "0" * 64, "no digest"):
            with pytest.raises(NotFound):
                await store.payload(unknown)

    async def test_a_value_counts_once_in_a_batch(self, store: Store) -> None:
        """Many may carry it, as long as it is one."""
        most = "x" * (MAX_BATCH_BYTES - 10_000)
        await commit(store, *(Put(a_task(f"t{n}", input=most), 0) for n in range(5)))
        assert (await the_task(store, "t4")).input == most
        with pytest.raises(StoreError):
            await commit(store, Put(a_task("a", input=most), 0), Put(a_task("b", input=most + "y"), 0))

    async def test_a_value_stays_as_long_as_somebody_refers_to_it(self, store: Store) -> None:
        """Then it is gone: after a delete, and after a Put of another."""
        for id in ("t1", "t2"):
            await create(store, a_task(id, input=LARGE))
        await commit(store, step(LARGE, "t2"))
        key = digest((await page_of(store)).input)
        await put(store, await the_task(store), TaskState.CANCELLED, fenced=False)
        await commit(store, Delete("task", "t1", 2))
        assert await store.payload(key) == LARGE
        assert (await the_task(store, "t2")).input == LARGE
        await put(store, await the_task(store, "t2"), TaskState.CANCELLED, fenced=False, fields={"input": 1})
        assert await store.payload(key) == LARGE
        await commit(store, Delete("task", "t2", 2))
        with pytest.raises(NotFound):
            await store.payload(key)

    async def test_a_task_may_be_put_back_as_a_page_shows_it(self, store: Store) -> None:
        """The stand-in of its own value keeps the value."""
        await create(store, a_task(input=LARGE))
        shown = await page_of(store)
        await put(store, shown, TaskState.PAUSED, fenced=False)
        await put(store, await page_of(store), TaskState.CANCELLED, fenced=False, fields={"result": "x"})
        task = await the_task(store)
        assert (task.input, task.result) == (LARGE, "x")

    async def test_a_stand_in_of_anothers_value_is_a_value_like_any_other(self, store: Store) -> None:
        """Whoever knows a digest gets nothing by it."""
        await create(store, a_task("t1", input=LARGE))
        stand_in = (await page_of(store)).input
        await create(store, a_task("t2", input=stand_in))
        await put(store, await the_task(store, "t2"), TaskState.PAUSED, fenced=False, fields={"result": stand_in})
        task = await the_task(store, "t2")
        assert (task.input, task.result) == (stand_in, stand_in)

    async def test_an_event_that_was_not_appended_leaves_no_value(self, store: Store) -> None:
        """The inbox of an ended task takes nothing."""
        await ended(store)
        before = await store.events(EventQuery())
        await commit(store, step(LARGE))
        assert await store.events(EventQuery()) == before
        await create(store, a_task("t2", input=LARGE))
        key = digest((await page_of(store, "t2")).input)
        await put(store, replace(await the_task(store, "t2")), TaskState.CANCELLED, fenced=False)
        await commit(store, Delete("task", "t2", 2))
        with pytest.raises(NotFound):
            await store.payload(key)
