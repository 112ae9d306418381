"""Registers the store, `store = "redis"`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opspawn.contracts.plugins import StorePlugin
from opspawn.contracts.store import Store
from opspawn.hookspecs import hookimpl
from opspawn_store_redis.settings import RedisConfig


async def open_store(section: Any, data: str) -> Store:
    """Open the store of a section. Raises: StoreUnusable."""
    from opspawn_store_redis.store import open_redis

    config = section if isinstance(section, RedisConfig) else RedisConfig.model_validate(section or {})
    return await open_redis(config)


@hookimpl
def opspawn_stores() -> Iterable[StorePlugin]:
    """The store of a fleet, `store = "redis"`."""
    yield StorePlugin("redis", open_store, RedisConfig, "A Redis or Valkey server, for any number of processes.")
