"""The Redis store beside the model: whatever is asked, in whatever order, both answer alike."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import settings

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Store
from opspawn.testing.store_machine import StoreMachine, how_long
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer


class _Place:
    """Where the machine's stores are; set while a test runs."""

    url: ClassVar[str] = ""
    numbers: ClassVar[Iterator[int]] = itertools.count()


class Machine(StoreMachine):
    async def open(self, clock: Clock) -> Store:
        namespace = f"machine-{next(_Place.numbers)}"
        return await open_redis(RedisConfig(url=_Place.url, namespace=namespace, durability="none"), clock=clock)


@pytest.fixture(autouse=True, scope="module")
def place(server: RedisServer) -> None:
    _Place.url = server.url


TestRedisBesideTheModel = Machine.TestCase
#: Fewer than the embedded store is tried with, since each call goes to a server; STORE_EXAMPLES makes more.
TestRedisBesideTheModel.settings = (
    how_long() if "STORE_EXAMPLES" in os.environ else settings(how_long(), max_examples=25)
)
