"""The stores on which a scenario runs, by one fixture: `pytestmark = pytest.mark.usefixtures("store")`, and the app and
the test stay as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from opspawn_store_redis.testing import RedisServer

from ._process import nursery

_NUMBERS = itertools.count()
_STORES = ["sqlite", "redis"]


@pytest.fixture(scope="session", autouse=True)
def _nursery_ends() -> Iterator[None]:
    yield
    if nursery.cache_info().currsize:
        nursery().close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all, which has each commit on its disk before it answers."""
    with RedisServer(tmp_path_factory.mktemp("redis"), aof="always") as server:
        yield server


def _keep_tasks_on(request: pytest.FixtureRequest, patch: pytest.MonkeyPatch) -> str:
    """Have all processes that are started from now on keep their tasks where the parameter says, in a store of its own.

    A worker that was killed holds its leases on Redis until they end, so these are short there.
    """
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("server")
        for name, value in {
            "STORE": "redis",
            "WAKER": "redis",
            "PLUGINS__REDIS__URL": server.url,
            "PLUGINS__REDIS__NAMESPACE": f"acceptance-{next(_NUMBERS)}",
            "PLUGINS__REDIS__DURABILITY": "always",
            "WORKER__LEASE_S": "3",
        }.items():
            patch.setenv(f"OPSPAWN_{name}", value)
    return str(request.param)


@pytest.fixture(scope="module", params=_STORES)
def stores(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where all tests of a module keep their tasks, and the name of that store; all of them must use it."""
    with pytest.MonkeyPatch.context() as patch:
        yield _keep_tasks_on(request, patch)


@pytest.fixture(params=_STORES)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where one test keeps its tasks, empty, and the name of that store."""
    return _keep_tasks_on(request, monkeypatch)
