"""The wakers: a ring reaches a waiter of another process, and whatever becomes of rings, work is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.store import Batch, Put, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import PluginError
from opspawn.host import Host
from opspawn.stores.sqlite import open_sqlite
from opspawn_store_redis import ArqConfig, RedisConfig, plugin
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.waker import RedisWaker

HAS_ARQ = find_spec("arq") is not None
KINDS = ["redis", "arq"] if HAS_ARQ else ["redis"]


@asynccontextmanager
async def a_waker(kind: str, config: RedisConfig) -> AsyncIterator[Any]:
    if kind == "arq":
        waker: Waker = await plugin.open_arq(ArqConfig(url=config.url, namespace=config.namespace))
    else:
        waker = RedisWaker(config)
    try:
        yield waker
    finally:
        await waker.aclose()


async def waited(waker: Waker, *queues: str) -> None:
    """Return when the waker says so, and fail when only the time did."""
    began = time.monotonic()
    await waker.wait(queues or ("default",), 20.0)
    assert time.monotonic() - began < 15.0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ring_wakes_a_waiter_of_another_process(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as here, a_waker(kind, config) as there:
        waiting = asyncio.create_task(waited(there, "other", "default"))
        await asyncio.sleep(0.05)
        here.ring("default")
        await waiting


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ring_that_nobody_waited_for_is_not_lost(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as here, a_waker(kind, config) as there:
        here.ring("default")
        await asyncio.sleep(0.05)
        await waited(there)


@pytest.mark.parametrize("kind", KINDS)
async def test_rings_that_nobody_hears_do_not_pile_up(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as waker:
        for _ in range(100):
            await waker.send("default")
        assert await waker._client.llen(f"{waker.prefix}default") == 64
        if kind == "arq":
            assert await waker._client.zcard(waker.queue) == 64


@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_wakes_a_waiter_before_anybody_rings(kind: str, config: RedisConfig) -> None:
    """And what nobody waits for leaves one hint for its queue, however much it is."""
    store = await open_redis(config)
    async with a_waker(kind, config) as waker:
        waiting = asyncio.create_task(waited(waker, "other", "default"))
        await asyncio.sleep(0.05)
        await store.commit(Batch([Put(Task(id="t-1", handler="function/f", root="t-1"), 0)]))
        await waiting
        for n in range(2, 9):
            await store.commit(Batch([Put(Task(id=f"t-{n}", handler="function/f", root=f"t-{n}", queue="quiet"), 0)]))
        assert await waker._client.llen(f"{waker.prefix}quiet") == 1
    await store.aclose()


async def test_a_queue_is_rung_at_most_once_within_its_time(config: RedisConfig) -> None:
    async with a_waker("redis", config) as waker:
        for _ in range(1000):
            waker.ring("default")
        await asyncio.sleep(0.3)
        assert await waker._client.llen(f"{waker.prefix}default") <= 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_waker_outlives_a_server_that_is_restarted(kind: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        config = RedisConfig(url=server.url, timeout_s=1.0)
        async with a_waker(kind, config) as here, a_waker(kind, config) as there:
            await there.wait(("default",), 0.01)
            server.kill()
            here.ring("default")
            await there.wait(("default",), 0.3)
            server.start()
            waiting = asyncio.create_task(waited(there))
            while not waiting.done():
                here.ring("default")
                await asyncio.sleep(0.1)
            await waiting


if HAS_ARQ:  # it needs an older redis-py than the newest

    async def test_arqs_worker_is_made_anew_when_it_ends(config: RedisConfig) -> None:
        """As it does at a fault of its connection, or when somebody cancels it."""
        async with a_waker("arq", config) as waker:
            await waker.wait(("default",), 0.3)
            first = waker._worker
            first.main_task.cancel()
            async with asyncio.timeout(20):
                while waker._worker is first:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def test_without_arq_its_waker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)

    with pytest.raises(PluginError, match=r"pip install \"opspawn-store-redis\[arq\]\""):
        await plugin.open_arq({})


def an_app(done: list[int]) -> App:
    async def work(ctx: Any) -> int:
        done.append(ctx.input)
        return int(ctx.input)

    return App(functions={"work": work})


Open = Callable[[RedisConfig, Path], Any]


async def _redis(config: RedisConfig, path: Path) -> Any:
    return await open_redis(config)


async def _sqlite(config: RedisConfig, path: Path) -> Any:
    return await open_sqlite(str(path / "opspawn.db"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("open_store", [_redis, _sqlite])
async def test_a_task_that_one_process_accepts_another_does(
    kind: str, open_store: Open, config: RedisConfig, tmp_path: Path
) -> None:
    """Whatever the store, and also while all hints are deleted again and again."""
    done: list[int] = []
    loaded = load_settings(environ={}, cwd=tmp_path, overrides={"data": str(tmp_path)})
    async with a_waker(kind, config) as wake_server, a_waker(kind, config) as wake_worker, a_waker(kind, config) as k:
        server, worker = await open_store(config, tmp_path), await open_store(config, tmp_path)
        async with (
            Host.open(an_app([]), loaded=loaded, worker=False, runs=True, store=server, waker=wake_server) as front,
            Host.open(an_app(done), loaded=loaded, store=worker, waker=wake_worker),
        ):
            tasks = [await front.submit("function/work", n) for n in range(5)]
            for task in tasks:
                assert (await front.wait(task.id, 20.0)).state == "succeeded"
            for n in range(3):
                task = await front.submit("function/work", 10 + n)
                for key in await k._client.keys("arq:*") + await k._client.keys("*:wake:*"):
                    await k._client.delete(key)
                assert (await front.wait(task.id, 20.0)).state == "succeeded"
    assert sorted(done) == [0, 1, 2, 3, 4, 10, 11, 12]
