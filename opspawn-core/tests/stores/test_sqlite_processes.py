"""Several processes on one file: the dead lose their leases at once, and the commits of others are seen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery
from opspawn.errors import StoreError, StoreUnusable
from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.testing.store_promises import claim, claim_soon, commit, create, created_and_claimed, step, the_task

CLAIMS_AND_HANGS = """
import asyncio, sys
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import claim

async def main(path, worker):
    store = await open_sqlite(path)
    leases = await claim(store, worker, lease_s=3600)
    print(len(leases), flush=True)
    await asyncio.sleep(3600)

asyncio.run(main(*sys.argv[1:]))
"""

APPENDS = """
import asyncio, sys
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import commit, step

async def main(path, name):
    store = await open_sqlite(path)
    for n in range(100):
        await commit(store, step({"by": name, "n": n}))
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def claimer(path: str, worker: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed one task for an hour; killed at the end if it still lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMS_AND_HANGS, path, worker], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def appenders(path: str, *names: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that append a hundred events each, and then end."""
    processes = [subprocess.Popen([sys.executable, "-c", APPENDS, path, name]) for name in names]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def locks(path: str) -> list[str]:
    """The names of the lock files beside a database."""
    folder = path + ".workers"
    return sorted(os.listdir(folder)) if os.path.exists(folder) else []


async def test_a_killed_worker_loses_its_leases_at_once(store: SqliteStore, path: str) -> None:
    """`kill -9` frees its lock: the next claim of another worker takes over, long before the lease ends."""
    await create(store)
    with claimer(path, "victim") as process:
        assert await claim(store, "heir") == []
        assert locks(path) == ["heir.lock", "victim.lock"]
        process.kill()
        process.wait()
        lease = await claim_soon(store, "heir")
    assert (lease.task.id, lease.task.owner, lease.task.deliveries) == ("t1", "heir", 1)
    assert locks(path) == ["heir.lock"]


async def test_a_living_worker_keeps_its_leases(store: SqliteStore, path: str) -> None:
    """However often others look."""
    await create(store)
    with claimer(path, "alive"):
        for _ in range(4):
            assert await claim(store, "other") == []
            await asyncio.sleep(0.3)
        assert (await the_task(store)).owner == "alive"


async def test_a_worker_born_again_under_its_name_gets_its_tasks_back(store: SqliteStore, path: str) -> None:
    """The first claim of the new life ends the leases of the former one."""
    await create(store)
    with claimer(path, "phoenix") as process:
        process.kill()
        process.wait()
        (lease,) = await claim(store, "phoenix")
    assert (lease.task.owner, lease.task.deliveries) == ("phoenix", 1)


async def test_a_name_is_used_by_one_living_process(store: SqliteStore, path: str) -> None:
    """The second to claim under it is told so."""
    await create(store)
    with claimer(path, "twin"), pytest.raises(StoreUnusable, match="already works as 'twin'"):
        await claim(store, "twin")


async def test_closing_gives_up_leases_and_locks(store: SqliteStore, path: str) -> None:
    """What a closed store still held is due at once for others."""
    other = await open_sqlite(path)
    await created_and_claimed(other)
    await other.aclose()
    assert locks(path) == []
    assert len(await claim(store, "w2")) == 1


async def test_a_removed_lock_file_says_nothing(store: SqliteStore, path: str) -> None:
    """Somebody tidied up: the worker may well be alive, and its lease still holds."""
    other = await open_sqlite(path)
    await created_and_claimed(other)
    os.unlink(f"{path}.workers/w1.lock")
    assert await claim(store, "w2") == []
    await other.aclose()


async def test_worker_names_may_hold_anything(store: SqliteStore, path: str) -> None:
    """They never lead out of the folder of locks."""
    for name in ("../../x", "a/b", ".", "ü %2F"):
        await claim(store, name)
    assert len(locks(path)) == 4


async def test_a_worker_name_too_long_for_a_file_is_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreError, match="too long"):
        await claim(store, "w" * 300)


async def test_processes_that_write_at_once_lose_nothing(store: SqliteStore, path: str) -> None:
    """Each waits for the other's transaction; everything is there once, and each one's order is kept."""
    await create(store, due_in_s=None)
    with appenders(path, "a", "b") as processes:
        for n in range(100):
            await commit(store, step({"by": "us", "n": n}))
        codes = [await asyncio.to_thread(process.wait, 50) for process in processes]
    assert codes == [0, 0]
    events = await store.events(EventQuery(limit=1000))
    for name in ("a", "b", "us"):
        assert [event.data["n"] for event in events if event.data["by"] == name] == list(range(100))


async def test_a_tail_shows_commits_of_other_processes(store: SqliteStore, path: str) -> None:
    """As a second store on the same file commits, the first one's tail sees it, between its own events."""
    await create(store, due_in_s=None)
    other = await open_sqlite(path)
    tail = store.tail()
    shown = []
    for n, writer in enumerate((other, store, other, other)):
        await commit(writer, step({"n": n}))
        async with asyncio.timeout(20):
            shown.append(await anext(tail))
    await other.aclose()
    assert [item.data["n"] for item in shown if isinstance(item, Event)] == [0, 1, 2, 3]


async def test_a_commit_waits_while_another_process_writes(store: SqliteStore, path: str) -> None:
    """It is made as soon as the other is done."""
    await create(store, due_in_s=None)
    other = await open_sqlite(path)
    other._writer._connection.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(commit(store, step({"n": 1})))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    other._writer._connection.execute("ROLLBACK")
    await waiting
    await other.aclose()


async def test_a_commit_waits_no_longer_than_the_busy_time(path: str) -> None:
    """Then it fails with a remedy, has no effect, and the store goes on once the lock is free."""
    store = await open_sqlite(path, busy_timeout_s=0.1)
    await create(store, due_in_s=None)
    other = await open_sqlite(path)
    other._writer._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy_timeout_s"):
        await commit(store, step({"n": 1}))
    other._writer._connection.execute("ROLLBACK")
    await commit(store, step({"n": 2}))
    assert [event.data["n"] for event in await store.journal("t1")] == [2]
    await other.aclose()
    await store.aclose()
