"""The Redis store keeps every promise of a store, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from opspawn.testing.store_contract import Capability, StoreContract
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.store import RedisStore, open_redis


class TestRedis(StoreContract):
    capabilities = frozenset({Capability.SHARED, Capability.MOVABLE})

    @pytest.fixture
    async def elsewhere(self, config: RedisConfig) -> AsyncIterator[RedisStore]:
        store = await open_redis(config.model_copy(update={"namespace": f"{config.namespace}-elsewhere"}))
        yield store
        await store.aclose()

    @pytest.fixture
    async def store(self, config: RedisConfig) -> AsyncIterator[RedisStore]:
        store = await open_redis(config)
        yield store
        await store.aclose()

    @pytest.fixture
    async def another(self, store: RedisStore, config: RedisConfig) -> AsyncIterator[RedisStore]:
        another = await open_redis(config)
        yield another
        await another.aclose()
