"""Registers the store, `store = "redis"`, and the wakers, `waker = "arq"` and `waker = "redis"`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from opspawn.contracts.plugins import StorePlugin, WakerPlugin
from opspawn.contracts.store import Store
from opspawn.contracts.waker import Waker
from opspawn.errors import PluginError
from opspawn.hookspecs import hookimpl
from opspawn_store_redis.settings import ArqConfig, RedisConfig


async def open_store(section: Any, data: str) -> Store:
    """Open the store of a section. Raises: StoreUnusable."""
    from opspawn_store_redis.store import open_redis

    config = section if isinstance(section, RedisConfig) else RedisConfig.model_validate(section or {})
    return await open_redis(config)


async def open_waker(section: Any) -> Waker:
    """A waker that needs redis-py alone."""
    from opspawn_store_redis.waker import RedisWaker

    return RedisWaker(section if isinstance(section, RedisConfig) else RedisConfig.model_validate(section or {}))


async def open_arq(section: Any) -> Waker:
    """The waker with arq's doorbells. Raises: PluginError: arq is not installed."""
    if find_spec("arq") is None:
        raise PluginError(
            'The waker "arq" needs arq, which is not installed.',
            remedy='Run: pip install "opspawn-store-redis[arq]"; or set waker = "redis", which needs nothing more.',
        )
    from opspawn_store_redis.doorbells import ArqWaker

    return ArqWaker(section if isinstance(section, ArqConfig) else ArqConfig.model_validate(section or {}))


def arq_beside(section: Any, store: Any) -> Any:
    """The section of arq's waker beside that of the store: where both are on a server, it is the same by default."""
    return section.beside(store) if isinstance(store, RedisConfig) else section


def from_address(address: str) -> dict[str, Any] | None:
    """The server of "redis://…", "rediss://…" or "unix://…"; "?namespace=NAME" says which namespace.

    What the section says of another server does not count: Sentinels beside a host, files of TLS where there is none.
    """
    if not address.startswith(("redis://", "rediss://", "unix://")):
        return None
    server, _, query = address.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([pair for pair in pairs if pair[0] != "namespace"])
    named = {name: value for name, value in pairs if name == "namespace"}
    elsewhere: dict[str, Any] = {}
    if server.startswith("unix://") or urlsplit(server).hostname:
        elsewhere["sentinels"] = []
    if not server.startswith("rediss://"):
        elsewhere |= dict.fromkeys(("tls_ca", "tls_cert", "tls_key"))
    return {"url": f"{server}?{rest}" if rest else server, **named, **elsewhere}


@hookimpl
def opspawn_stores() -> Iterable[StorePlugin]:
    """The store of a fleet, `store = "redis"`."""
    help = "A Redis or Valkey server, for any number of processes."
    yield StorePlugin("redis", open_store, RedisConfig, help, from_address=from_address)


@hookimpl
def opspawn_wakers() -> Iterable[WakerPlugin]:
    """The wakers of a fleet, whatever its store."""
    help = "Doorbells by arq, and a short list of hints, for many processes."
    yield WakerPlugin("arq", open_arq, ArqConfig, help, beside=arq_beside)
    yield WakerPlugin("redis", open_waker, RedisConfig, "A short list of hints on the server, for many processes.")
