"""A server that lost what it confirmed, refuses writes or does not answer: who notices, and until when."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn.app import App
from opspawn.config import load_settings
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, EventQuery
from opspawn.errors import StoreError
from opspawn.host import Host
from opspawn.testing.store_promises import create
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer

PATIENCE_S = 30.0


@asynccontextmanager
async def opened(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = await open_redis(RedisConfig(url=server.url, durability="none", retry_s=10))
    try:
        yield store
    finally:
        await store.aclose()


async def until(holds: Callable[[], Awaitable[object] | object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            held = holds()
            if await held if isinstance(held, Awaitable) else held:
                return
            await asyncio.sleep(0.02)


async def crash(server: RedisServer) -> None:
    """It comes back as its last snapshot has it."""
    server.kill()
    await asyncio.to_thread(server.start)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


async def save(store: RedisStore) -> None:
    await store._calls.command("SAVE")


async def told(store: RedisStore) -> int:
    return len(await store.events(EventQuery(types=("store.went_back",))))


async def test_a_loss_is_noticed_by_who_saw_it_even_if_others_wrote_more_since(own: RedisServer) -> None:
    """Named guard: the counter alone does not tell once it has passed what was seen."""
    async with opened(own) as web, opened(own) as other:
        await create(web, "t1")
        await save(web)
        await create(web, "lost")
        await web._watch.aclose()  # as one that is slow to look
        await crash(own)
        for n in range(5):
            await create(other, f"later{n}")
        with pytest.raises(StoreError, match="lost 1 writes"):
            await web.ready()
        assert web.alarm is not None


async def test_a_process_that_asks_for_nothing_notices_a_loss(own: RedisServer) -> None:
    async with opened(own) as web, opened(own) as worker:
        await create(web, "t1")
        await create(worker, "t2")
        await web._calls.command("FLUSHALL")
        await until(lambda: web.alarm)
        await until(lambda: worker.alarm)
        await until(lambda: _is(told(web), 2))


async def _is(count: Awaitable[int], wanted: int) -> bool:
    return await count == wanted


async def test_a_server_that_comes_back_with_everything_alarms_nobody(tmp_path: Path) -> None:
    with RedisServer(tmp_path, aof="always") as server:
        async with opened(server) as one, opened(server) as other:
            for round in range(3):
                await create(one, f"t{round}")
                await crash(server)
                await asyncio.gather(one.ready(), other.ready())
            await create(other, "last")
            await one.ready()
            assert (one.alarm, other.alarm, await told(one)) == (None, None, 0)


async def test_everybody_is_told_of_a_loss_until_a_person_acknowledges(own: RedisServer) -> None:
    """Also who opened the store since; then the process that noticed is ready again."""
    async with opened(own) as web:
        await create(web, "t1")
        await web._calls.command("FLUSHALL")
        with pytest.raises(StoreError, match="went back in time"):
            await web.ready()
        await until(lambda: _is(told(web), 1))
        async with opened(own) as doctor:
            assert doctor.alarm is None
            await doctor.ready()
            worst = (await doctor.check())[0]
            assert (worst.level, "went back in time" in worst.what) == ("error", True)
            await doctor.commit(Batch([Append(None, NewEvent("store.acknowledged", {"by": "ada"}))]))
            assert "went back" not in (await doctor.check())[0].what
        await web.ready()
        assert web.alarm is None


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"maxmemory": "1mb"}, "memory .* is used up"),
        ({"maxmemory-policy": "allkeys-lru"}, "may evict what it should keep"),
    ],
)
async def test_a_store_that_refuses_writes_or_became_unfit_is_not_ready(
    own: RedisServer, settings: dict[str, str], reason: str
) -> None:
    async with opened(own) as store:
        await store.ready()
        for name, value in settings.items():
            await store._calls.command("CONFIG", "SET", name, value)
        with pytest.raises(StoreError, match=reason):
            await store.ready()
        for name, value in {"maxmemory": "0", "maxmemory-policy": "noeviction"}.items():
            await store._calls.command("CONFIG", "SET", name, value)
        await store.ready()


async def test_looking_whether_it_is_ready_writes_nothing(own: RedisServer) -> None:
    async with opened(own) as store:
        await create(store, "t1")
        before = await _changes(store._calls)
        for _ in range(3):
            await store.ready()
        assert await _changes(store._calls) == before


async def _changes(calls: Calls) -> str:
    return str((await calls.command("INFO", "persistence"))["rdb_changes_since_last_save"])


async def test_a_host_says_that_it_is_not_ready_while_the_server_hangs_or_refuses_writes(
    own: RedisServer, tmp_path: Path
) -> None:
    """And does not wait for as long as its calls are tried again."""
    overrides: dict[str, Any] = {"store": "redis", "plugins.redis.url": own.url, "plugins.redis.durability": "none"}
    overrides |= {"plugins.redis.retry_s": 20, "plugins.redis.timeout_s": 20}
    async with Host.open(App(), loaded=load_settings(cwd=tmp_path, overrides=overrides), worker=False) as host:
        assert (await host.ready())["ready"] is True
        os.kill(own.pid, signal.SIGSTOP)
        try:
            hanging = await host.ready()
        finally:
            os.kill(own.pid, signal.SIGCONT)
        assert (hanging["ready"], hanging["store"]) == (False, "The store has not answered within 1.5 s.")
        async with opened(own) as operator:
            await operator._calls.command("CONFIG", "SET", "maxmemory", "1mb")
            full = await host.ready()
            assert full["ready"] is False
            assert "is used up" in full["store"]
            await operator._calls.command("CONFIG", "SET", "maxmemory", "0")
        assert (await host.ready())["ready"] is True
