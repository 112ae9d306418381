"""Where a chaos run keeps its tasks: a SQLite file, or a Redis or Valkey server of its own with proxies before it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

from opspawn.host import Host
from opspawn_store_redis import connections
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.settings import ArqConfig, RedisConfig
from opspawn_store_redis.testing import RedisServer

from .namespaces import Namespace, open_namespaces

_REDIS = """\
store = "redis"
waker = "arq"
[plugins.redis]
url = "{url}"
durability = "always"
timeout_s = 1
retry_s = 20
[plugins.arq]
url = "{url}"
timeout_s = 1
"""


class Place(Protocol):
    """A place. `settings` are lines of opspawn.toml; `poll_s` how often a worker looks by itself."""

    settings: str
    poll_s: float

    def variables(self) -> dict[str, str]:
        """Variables of the next worker."""
        ...

    def broken(self, host: Host) -> list[str]:
        """What is wrong with the place itself, in sentences."""
        ...


class SqlitePlace:
    """The default: one file."""

    settings = ""
    poll_s = 0.1

    def __init__(self, folder: Path) -> None:
        self.database = folder / ".opspawn" / "opspawn.db"

    def variables(self) -> dict[str, str]:
        return {}

    def broken(self, host: Host) -> list[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            told = [line for (line,) in connection.execute("PRAGMA integrity_check")]
        return [] if told == ["ok"] else [f"the database is broken: {line}" for line in told[:3]]


class RedisPlace:
    """A server whose log is synced at each commit. Each worker has a network or a proxy of its own, where there are
    enough, or reaches the server directly.
    """

    poll_s = 0.3

    def __init__(self, server: RedisServer, proxies: list[Proxy], networks: list[Namespace]) -> None:
        self.server = server
        self.proxies = proxies
        self.networks = networks
        self._next_network = itertools.cycle(networks)
        self.settings = _REDIS.format(url=server.url)
        self.config = RedisConfig(url=server.url)
        self.arq = ArqConfig(url=server.url)

    def variables(self) -> dict[str, str]:
        if self.networks:
            network = next(self._next_network)
            return {"CHAOS_NETWORK": str(network.pid), **_urls(f"redis://127.0.0.1:{network.port}/0")}
        if self.proxies:
            return _urls(min(self.proxies, key=lambda proxy: proxy.clients).url)
        return {}

    def broken(self, host: Host) -> list[str]:
        alarm: str | None = getattr(host.store, "alarm", None)
        return [] if alarm is None else [f"the server lost what it had confirmed: {alarm}"]

    async def restart(self, down_s: float) -> None:
        """SIGKILL to the server, and a start after some seconds; whoever is cancelled meanwhile leaves it running."""
        await asyncio.to_thread(self.server.kill)
        try:
            await asyncio.sleep(down_s)
        finally:
            await asyncio.shield(asyncio.to_thread(self.server.start))

    @asynccontextmanager
    async def parted(self, chance: random.Random) -> AsyncIterator[None]:
        """One worker, by chance, hears and says nothing meanwhile, with its connections open."""
        if self.networks:
            network = chance.choice(self.networks)
            try:
                await network.connect(False)
                yield
            finally:
                await network.connect(True)
            return
        proxy = chance.choice(self.proxies)
        proxy.silent = True
        try:
            yield
        finally:
            proxy.silent = False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """A client of the server itself."""
        client = connections.async_client(self.config)
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):
                await client.aclose()


def _urls(url: str) -> dict[str, str]:
    return {"OPSPAWN_PLUGINS__REDIS__URL": url, "OPSPAWN_PLUGINS__ARQ__URL": url}


@asynccontextmanager
async def open_place(
    store: str, folder: Path, proxies: int = 0, networks: int = 0
) -> AsyncIterator[SqlitePlace | RedisPlace]:
    """A place by the name of its store; of Redis with so many proxies, or networks for workers.

    Raises:
        NotAllowed: this process may not make networks.
    """
    if store == "sqlite":
        yield SqlitePlace(folder)
        return
    async with AsyncExitStack() as stack:
        spaces = await stack.enter_async_context(open_namespaces(networks, folder / "redis" / "redis.sock"))
        server = RedisServer(folder / "redis", aof="always")
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        yield RedisPlace(server, [await stack.enter_async_context(Proxy(server.port)) for _ in range(proxies)], spaces)
