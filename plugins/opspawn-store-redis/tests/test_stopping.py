"""A process that stops does so in time, whatever its server does."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from opspawn import App
from opspawn.config import load_settings
from opspawn.host import Host
from opspawn_store_redis import ArqConfig, RedisConfig, plugin
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.waker import RedisWaker

#: The grace that the how-to gives is longer; without the guard it takes minutes with the time-outs of these tests.
IN_TIME_S = 40.0


@contextmanager
def frozen(server: RedisServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def warnings() -> Iterator[list[str]]:
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]), level="WARNING")
    try:
        yield told
    finally:
        logger.remove(sink)


async def _wait(ctx: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.filterwarnings("ignore:Unclosed client session:ResourceWarning")  # arq leaves a pipeline that is cut off
@pytest.mark.parametrize(("busy", "kind"), [(False, "redis"), (True, "arq" if find_spec("arq") else "redis")])
async def test_a_worker_ends_while_its_server_hangs(busy: bool, kind: str, tmp_path: Path) -> None:
    """Whether it has a task or none; what it could not give back costs the lease, and that alone it tells."""
    patient = {"timeout_s": 60.0, "retry_s": 60.0, "durability": "none"}
    with RedisServer(tmp_path) as server:
        config = RedisConfig.model_validate({"url": server.url, **patient})
        settings = {"data": str(tmp_path), "worker.drain_s": 0.3, "worker.lease_s": 5.0}
        loaded = load_settings(environ={}, cwd=tmp_path, overrides=settings)
        app = App(functions={"wait": _wait})
        shared = plugin.arq_beside(ArqConfig(), config)
        waker = RedisWaker(config) if kind == "redis" else await plugin.open_arq(shared)
        opened = Host.open(app, loaded=loaded, store=await open_redis(config), waker=waker)
        host = await opened.__aenter__()
        if busy:
            await host.submit("function/wait", None)
            while not (host.worker and host.worker.running):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with frozen(server), warnings() as told:
            host.stop()
            async with asyncio.timeout(IN_TIME_S):
                await opened.__aexit__(None, None, None)
    gc.collect()
    assert any("this process stops without it" in line for line in told)
    assert any("eases end by themselves" in line for line in told) is busy
    assert any("offer to take work ends by itself" in line for line in told) is not busy


async def test_a_worker_that_has_stopped_is_given_nothing(config: RedisConfig, tmp_path: Path) -> None:
    """The rest of its process may take a while to end; what comes meanwhile is for others, and lost to nobody."""
    loaded = load_settings(environ={}, cwd=tmp_path, overrides={"data": str(tmp_path)})
    app = App(functions={"wait": _wait})
    store = await open_redis(config)
    async with (
        Host.open(app, loaded=loaded, store=store, waker=RedisWaker(config)) as host,
        Host.open(app, loaded=loaded, store=await open_redis(config), waker=RedisWaker(config), worker=False) as other,
    ):
        assert host.worker is not None
        while not store._mailboxes[host.worker.id]._standing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        host.worker.stop()
        await host.working()

        task = await other.submit("function/wait", None)
        assert (await other.task(task.id)).state == "queued"


async def test_a_process_that_stops_keeps_its_patience_with_a_server_that_answers(config: RedisConfig) -> None:
    from opspawn.testing.store_promises import create

    store = await open_redis(config)
    store.stopping(0.0)
    await asyncio.sleep(2.6)
    await create(store)
    await store.aclose()
