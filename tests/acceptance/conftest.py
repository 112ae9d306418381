"""The stores on which a scenario runs, by one fixture: `pytestmark = pytest.mark.usefixtures("store")`, and the app and
the test stay as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from opspawn_store_redis.testing import RedisServer

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all, which has each commit on its disk before it answers."""
    with RedisServer(tmp_path_factory.mktemp("redis"), aof="always") as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where all processes of a module keep their tasks, and the name of that store.

    A worker that was killed holds its leases on Redis until they end, so these are short there.
    """
    if request.param == "sqlite":
        yield "sqlite"
        return
    server: RedisServer = request.getfixturevalue("server")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "STORE": "redis",
            "WAKER": "redis",
            "PLUGINS__REDIS__URL": server.url,
            "PLUGINS__REDIS__NAMESPACE": f"acceptance-{next(_NUMBERS)}",
            "PLUGINS__REDIS__DURABILITY": "always",
            "WORKER__LEASE_S": "3",
        }.items():
            patch.setenv(f"OPSPAWN_{name}", value)
        yield "redis"


@pytest.fixture
def store(stores: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """As `stores`, and empty for each test."""
    if stores == "redis":
        monkeypatch.setenv("OPSPAWN_PLUGINS__REDIS__NAMESPACE", f"acceptance-{next(_NUMBERS)}")
    return stores
