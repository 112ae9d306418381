"""The store finds its server through a Sentinel, and follows it to another one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis.asyncio

from opspawn.contracts.events import Event
from opspawn.errors import StoreUnusable
from opspawn.testing.store_promises import claim, create, ids, step
from opspawn.testing.store_promises import commit as commit_to
from opspawn_store_redis import RedisConfig, connections
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer, find_server

_CONFIG = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor mymaster 127.0.0.1 {server} 1
"""


@contextmanager
def sentinel_of(server: RedisServer, folder: Path, more: str = "") -> Iterator[str]:
    """The address of a Sentinel that knows the server."""
    port = RedisServer(folder).port
    path = folder / "sentinel.conf"
    path.write_text(_CONFIG.format(port=port, folder=folder, server=server.port) + more)
    with (folder / "sentinel.log").open("wb") as log:
        process = subprocess.Popen([find_server(), str(path), "--sentinel"], stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.02)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def sentinel(server: RedisServer, tmp_path: Path) -> Iterator[str]:
    with sentinel_of(server, tmp_path) as address:
        yield address


@pytest.fixture
async def store(config: RedisConfig, sentinel: str) -> AsyncIterator[RedisStore]:
    found = config.model_copy(update={"sentinels": [sentinel], "url": "redis:///0", "retry_s": 20})
    store = await open_redis(found)
    yield store
    await store.aclose()


async def test_a_store_behind_a_sentinel_commits_claims_and_is_followed(store: RedisStore) -> None:
    """With each sort of its connections."""
    tail = store.tail()
    await create(store)
    (lease,) = await claim(store)
    await commit_to(store, step({"n": 1}, token=lease.token))
    async with asyncio.timeout(20):
        shown = [await anext(tail) for _ in range(2)]
    assert ids([lease]) == ["t1"]
    assert [one.type for one in shown if isinstance(one, Event)] == ["task.claimed", "step.done"]


async def test_server_and_sentinels_take_the_credentials_of_url_and_settings(tmp_path: Path) -> None:
    """Those of the URL count behind Sentinels as well."""
    with RedisServer(tmp_path / "server", options={"requirepass": "p@ss"}) as server:
        rights = "sentinel auth-pass mymaster p@ss\nuser default off\nuser watcher on >seen ~* &* +@all\n"
        with sentinel_of(server, tmp_path, rights) as address:
            said = {"url": "redis://:p%40ss@/0", "sentinels": [address], "durability": "none"}
            said |= {"sentinel_username": "watcher", "sentinel_password": "seen"}
            store = await open_redis(RedisConfig.model_validate(said))
            leases = await asyncio.to_thread(lambda: asyncio.run(claim(store)))  # by the connections of threads
            await store.aclose()

    assert leases == []


@pytest.mark.parametrize(("more", "tls"), [({}, True), ({"sentinel_tls": False}, False)])
async def test_sentinels_are_spoken_to_as_the_server_is(more: dict[str, bool], tls: bool) -> None:
    """By TLS, unless it is said that they speak none; and their certificate has to name their host as well."""
    config = RedisConfig.model_validate({"url": "rediss:///0", "sentinels": ["127.0.0.1:1"], **more})
    client = connections.async_client(config)
    (asked,) = client.sentinels  # type: ignore[attr-defined]
    kind, options = asked.connection_pool.connection_class, asked.connection_pool.connection_kwargs
    await client.aclose()

    assert issubclass(kind, redis.asyncio.SSLConnection) == tls
    assert options.get("ssl_check_hostname", False) == tls


async def test_sentinels_that_are_away_or_know_no_such_server_are_told_apart(sentinel: str) -> None:
    async def refusal(**settings: object) -> str:
        with pytest.raises(StoreUnusable) as caught:
            await open_redis(RedisConfig.model_validate({"url": "redis:///0", **settings}))
        return str(caught.value)

    away, unknown = await refusal(sentinels=["127.0.0.1:1"]), await refusal(sentinels=[sentinel], sentinel_master="x")

    assert "127.0.0.1:1" in away
    assert "<redis" not in away  # as redis-py says it
    assert f"No Sentinel tells where 'x' at the Sentinels {sentinel} is: it is not watched, or it is down." in unknown


async def test_a_server_from_which_the_sentinels_lead_away_is_left_though_it_answers(
    server: RedisServer, sentinel: str, config: RedisConfig, tmp_path: Path
) -> None:
    """As one that was cut off from them, and takes writes that will be lost."""
    with RedisServer(tmp_path / "other") as other:
        store = await open_redis(config.model_copy(update={"sentinels": [sentinel], "url": "redis:///0"}))
        await create(store, "t1")
        with redis.Redis(port=int(sentinel.rpartition(":")[2])) as watcher:
            watcher.execute_command("SENTINEL", "REMOVE", "mymaster")  # type: ignore[no-untyped-call]
            watcher.execute_command("SENTINEL", "MONITOR", "mymaster", "127.0.0.1", other.port, 1)  # type: ignore[no-untyped-call]
        async with asyncio.timeout(20):
            while store.alarm is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await create(store, "t2")
        await store.aclose()
        there = await open_redis(config.model_copy(update={"url": other.url}))
        found = await there.get_task("t2")
        await there.aclose()

    assert found is not None
