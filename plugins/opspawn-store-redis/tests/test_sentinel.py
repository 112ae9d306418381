"""The store finds its server through a Sentinel, and follows it to another one."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from opspawn.contracts.events import Event
from opspawn.testing.store_promises import claim, create, ids, step
from opspawn.testing.store_promises import commit as commit_to
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer, find_server

_CONFIG = """\
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor mymaster 127.0.0.1 {server} 1
"""


@pytest.fixture
def sentinel(server: RedisServer, tmp_path: Path) -> Iterator[str]:
    """The address of a Sentinel that knows the server."""
    port = RedisServer(tmp_path).port
    path = tmp_path / "sentinel.conf"
    path.write_text(_CONFIG.format(port=port, folder=tmp_path, server=server.port))
    with (tmp_path / "sentinel.log").open("wb") as log:
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
