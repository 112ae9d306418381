"""What lies where on the server: however a task, its journal and its indexes are kept, they are found whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, Claim, Delete, EventQuery, Put, Query, Task, TaskState
from opspawn.errors import Conflict
from opspawn_store_redis.store import RedisStore, open_redis

CLAIM = Claim("w1", ("default",), ("function/f",), 10, 30.0)
LONG = "x" * 5000


def a_task(id: str = "t-1", **more: Any) -> Task:
    return Task(id=id, handler="function/f", **{"root": id, **more})


async def create(store: RedisStore, task: Task) -> None:
    await store.commit(Batch([Put(task, 0), Append(task.id, NewEvent("task.accepted"))]))


async def calls(store: RedisStore) -> dict[str, int]:
    """How often each command was called on the server."""
    stats = await store._calls.command("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): int(one["calls"]) for name, one in stats.items()}


async def test_a_long_value_lies_beside_its_task_and_goes_with_it(store: RedisStore) -> None:
    """A wake of the task does not write it again, and nothing of it stays."""
    await create(store, a_task(input=LONG, session="s-other"))
    assert await store._calls.fetch("STRLEN", "t:t-1") < 1000
    (lease,) = await store.claim(CLAIM)
    assert lease.task.input == LONG
    (found,) = (await store.find_tasks(Query({"id": "t-1"}))).items
    assert found.input == LONG
    ended = replace(lease.task, state=TaskState.SUCCEEDED, input="short", result=LONG)
    await store.commit(Batch([Put(ended, lease.task.version, lease.token)]))
    task = await store.get_task("t-1")
    assert task is not None
    assert (task.input, task.result) == ("short", LONG)
    assert await store._calls.fetch("HLEN", "v:t-1") == 1
    await store.commit(Batch([Delete("task", "t-1", task.version)]))
    assert await store._calls.fetch("EXISTS", "v:t-1") == 0
    assert await store.get_task("t-1") is None


async def test_a_journal_is_in_order_wherever_its_positions_are_noted(store: RedisStore) -> None:
    """The first ones in the task where that is written, too, others in a list, in turns."""
    await create(store, a_task())
    for n in range(30):
        await store.commit(Batch([Append("t-1", NewEvent("note", {"n": n}))]))
        if n % 3 == 0:
            (lease,) = await store.claim(CLAIM)
            again = replace(lease.task, state=TaskState.QUEUED)
            given_back = Append("t-1", NewEvent("back", {"n": n}), lease.token)
            await store.commit(Batch([given_back, Put(again, lease.task.version, lease.token)]))
    journal = await store.journal("t-1")
    positions = [event.position for event in journal]
    assert len(journal) == 1 + 30 + 2 * 10
    assert positions == sorted(set(positions))
    assert [event.data["n"] for event in journal if event.type == "note"] == list(range(30))
    assert [event.position for event in await store.journal("t-1", positions[24])] == positions[25:]
    assert [event.position for event in await store.events(EventQuery(task="t-1"))] == positions
    assert await store._calls.fetch("LLEN", "j:t-1") > 30
    task = await store.get_task("t-1")
    assert task is not None
    await store.commit(Batch([Put(replace(task, state=TaskState.CANCELLED), task.version)]))
    await store.commit(Batch([Delete("task", "t-1", task.version + 1)]))
    assert await store._calls.fetch("XLEN", "ev") == 0
    assert await store._calls.fetch("EXISTS", "j:t-1") == 0


async def test_a_task_is_found_by_a_session_of_its_own_beside_the_others_of_that_session(store: RedisStore) -> None:
    """In the order of creation, with its journal; and no longer once it has gone to another session."""
    await create(store, a_task("t-0", session="s-1"))
    await create(store, a_task("t-1", session="s-1"))
    await create(store, a_task("t-2", session="s-1", root="t-1", parent="t-1"))

    async def of(**where: str) -> list[str]:
        return [task.id for task in (await store.find_tasks(Query(where))).items]

    assert await of(session="s-1") == ["t-2", "t-1", "t-0"]
    assert await of(root="t-1") == ["t-2", "t-1"]
    assert await of(root="t-0", session="s-1") == ["t-0"]
    assert [event.task for event in await store.events(EventQuery(session="s-1"))] == ["t-0", "t-1", "t-2"]
    assert {event.session for event in await store.journal("t-1")} == {"s-1"}
    task = await store.get_task("t-1")
    assert task is not None
    assert (task.session, task.root) == ("s-1", "t-1")
    await store.commit(Batch([Put(replace(task, session="s-2"), task.version)]))
    assert await of(session="s-1") == ["t-2", "t-0"]
    assert await of(session="s-2") == ["t-1"]


async def test_what_is_asked_at_one_time_travels_together(store: RedisStore) -> None:
    """Commits in groups, whose functions write each set once; and reads."""
    ids = [f"t-{n}" for n in range(60)]
    await create(store, a_task("t-before"))
    before = await calls(store)
    await asyncio.gather(*(create(store, a_task(id)) for id in ids))
    after = await calls(store)
    assert after["fcall"] - before["fcall"] <= 3
    assert after["zadd"] - before["zadd"] <= 9
    assert after["mset"] - before["mset"] <= 3
    found = await asyncio.gather(*(store.get_task(id) for id in [*ids, "t-none"]))
    assert [task and task.id for task in found] == [*ids, None]
    last = await calls(store)
    assert last["mget"] - after["mget"] <= 3
    assert last.get("get", 0) == after.get("get", 0)


async def end(store: RedisStore, id: str) -> None:
    task = await store.get_task(id)
    assert task is not None
    told = [Append(id, NewEvent("task.note")), Append(id, NewEvent("task.cancelled"))]
    await store.commit(Batch([*told, Put(replace(task, state=TaskState.CANCELLED), task.version)]))


async def forget(store: RedisStore, id: str) -> None:
    task = await store.get_task(id)
    assert task is not None
    await store.commit(Batch([Delete("task", id, task.version)]))


async def everything(store: RedisStore, **query: Any) -> list[tuple[int, str | None]]:
    """All events, page by page from the oldest, and the same from the newest."""
    found: list[tuple[int, str | None]] = []
    position = 0
    while page := await store.events(EventQuery(position=position, limit=7, **query)):
        found += [(event.position, event.task) for event in page]
        position = page[-1].position
    newest = await store.events(EventQuery(limit=1000, newest=True, **query))
    assert [(event.position, event.task) for event in newest] == found
    return found


async def test_events_of_one_call_are_few_entries_and_each_is_found_and_removed_alone(store: RedisStore) -> None:
    """Also those of no task, which are written in between, and in a copy of the store."""
    ids = [f"t-{n}" for n in range(40)]
    audit = store.commit(Batch([Append(None, NewEvent("audit.note"))]))
    first, second = ([create(store, a_task(id)) for id in some] for some in (ids[:20], ids[20:]))
    await asyncio.gather(*first, audit, *second)
    await asyncio.gather(*(end(store, id) for id in ids))
    assert await store._calls.fetch("XLEN", "ev") <= 12
    whole = await everything(store)
    assert [position for position, _ in whole] == list(range(1, 1 + 40 * 3 + 1))
    ended = await everything(store, types=("task.cancelled",))
    assert [task for _, task in ended] == ids
    assert len(await everything(store, types=("task.note", "task.cancelled"))) == 80
    for position, task in whole:
        if task is None:
            await store.commit(Batch([Delete("event", str(position), 0)]))
            with pytest.raises(Conflict, match="There is no event of no task"):
                await store.commit(Batch([Delete("event", str(position), 0)]))
    for id in ids[::2]:
        await forget(store, id)
    left = [(position, task) for position, task in whole if task in ids[1::2]]
    assert await everything(store) == left
    assert await everything(store, types=("task.cancelled",)) == [one for one in ended if one[1] in ids[1::2]]
    assert [event.type for event in await store.journal("t-1")] == ["task.accepted", "task.note", "task.cancelled"]
    async with copied(store) as copy:
        assert await everything(copy) == left
    for id in ids[1::2]:
        await forget(store, id)
    assert await everything(store) == []
    for key in ("ev", "gone", "e:type:task.note", "e:type:task.cancelled", "e:apart"):
        assert await store._calls.fetch("EXISTS", key) == (key == "ev"), key
    assert await store._calls.fetch("XLEN", "ev") == 0


@asynccontextmanager
async def copied(store: RedisStore) -> AsyncIterator[RedisStore]:
    """The store in another namespace, as long as the block lasts."""
    config = store._calls.config
    copy = await open_redis(config.model_copy(update={"namespace": f"{config.namespace}-copy"}))
    try:
        await copy.restore([item async for item in store.kept()])
        yield copy
    finally:
        await copy.aclose()


async def test_whoever_follows_from_within_an_entry_gets_what_comes_after(store: RedisStore) -> None:
    """And not what came before in the same entry."""
    await asyncio.gather(*(create(store, a_task(f"t-{n}")) for n in range(12)))
    tail = store.tail(5)
    seen = [await anext(tail) for _ in range(7)]
    await asyncio.gather(*(create(store, a_task(f"t-{n}")) for n in range(12, 20)))
    seen += [await anext(tail) for _ in range(8)]
    assert [getattr(event, "position", None) for event in seen] == list(range(6, 21))
