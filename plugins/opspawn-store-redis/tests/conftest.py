"""One server for all tests, started by themselves; each test has a namespace of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from opspawn_store_redis import RedisConfig
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server without a log of writes; a test that needs one starts its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def config(server: RedisServer) -> RedisConfig:
    """The settings of an empty store."""
    return RedisConfig(url=server.url, namespace=f"t{next(_NUMBERS)}", durability="none")


@pytest.fixture
async def store(config: RedisConfig) -> AsyncIterator[RedisStore]:
    """An empty store."""
    store = await open_redis(config)
    yield store
    await store.aclose()
