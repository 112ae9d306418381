"""Clients of redis-py as the settings say, for event loops and for threads."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

from opspawn.errors import StoreUnusable
from opspawn_store_redis import tls
from opspawn_store_redis.settings import ConnectionConfig

#: What may be cured by trying again: the connection, a server that starts, one that is no master any more.
PASSING = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ReadOnlyError,
    OSError,
)

#: A server that vanished without a word is found out within half a minute, also where we only listen, and not in hours.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}.items()
    if hasattr(socket, name)  # which of them there are depends on the system
}


def own_name(config: ConnectionConfig) -> str:
    """What our connections are called in `CLIENT LIST`: the namespace, the machine and the process."""
    return f"opspawn:{config.namespace}:{re.sub('[^!-~]', '-', socket.gethostname())}:{os.getpid()}"


def is_passing(error: BaseException) -> bool:
    """Whether trying again, on a new connection, makes sense."""
    if isinstance(error, redis.exceptions.AuthenticationError | redis.exceptions.AuthorizationError):
        return False
    if isinstance(error, PASSING):
        return True
    return isinstance(error, redis.exceptions.ResponseError) and str(error).startswith(
        ("LOADING", "MASTERDOWN", "TRYAGAIN", "BUSY ", "UNBLOCKED", "NOREPLICAS", "READONLY")
    )


class _BehindSentinels(redis.asyncio.Redis):
    """Closes the connections to the Sentinels, too, which redis-py leaves open."""

    sentinels: Sequence[Any] = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in self.sentinels:
            await sentinel.aclose()


def async_client(config: ConnectionConfig, **options: Any) -> redis.asyncio.Redis:
    """A client for the running event loop."""
    options = {**_options(config), **options}
    if config.sentinels:
        sentinel: Any = AsyncSentinel(  # type: ignore[no-untyped-call]
            _sentinels(config), sentinel_kwargs=_sentinel_options(config)
        )
        client: _BehindSentinels = sentinel.master_for(
            config.sentinel_master, redis_class=_BehindSentinels, db=_db(config), **options
        )
        client.sentinels = sentinel.sentinels
        return client
    made: redis.asyncio.Redis = _made(redis.asyncio.Redis.from_url, config, options)
    return made


def client(config: ConnectionConfig, **options: Any) -> redis.Redis:
    """A client for any thread."""
    options = {**_options(config), **options}
    if config.sentinels:
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            _sentinels(config), sentinel_kwargs=_sentinel_options(config)
        )
        found: redis.Redis = sentinel.master_for(config.sentinel_master, db=_db(config), **options)
        return found
    plain: redis.Redis = _made(redis.Redis.from_url, config, options)
    return plain


def _made(from_url: Callable[..., Any], config: ConnectionConfig, options: dict[str, Any]) -> Any:
    """A client. Raises: StoreUnusable: what follows "?" in the URL makes no sense."""
    try:
        made = from_url(_without_credentials(config.url), **options)
        pool = made.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # redis-py looks at names only when it makes a connection
    except (TypeError, ValueError) as error:
        named = re.search(r"['\"`](\w+)['\"`]", str(error))
        what = f"{named[1]!r}" if named else "something"
        raise StoreUnusable(
            f'The url in {config.section} has {what} after "?", which is no option there, or has no such value.',
            remedy="Leave it out: user, password, TLS and time-outs are keys of the section.",
        ) from error
    return made


def _options(config: ConnectionConfig) -> dict[str, Any]:
    # RESP2 always, so that replies look alike whatever redis-py would choose.
    options: dict[str, Any] = {
        "socket_timeout": config.timeout_s,
        "socket_connect_timeout": config.timeout_s,
        "protocol": 2,
        "client_name": own_name(config),
    }
    if not config.url.startswith("unix://"):
        options |= {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    options |= _credentials(config)
    options |= tls.options(config)
    if config.sentinels and config.url.startswith("rediss://"):
        options["ssl"] = True
    return options


def _credentials(config: ConnectionConfig) -> dict[str, str]:
    """Those of the settings, and those of the URL where they have none; redis-py would take it the other way round."""
    parts = urlsplit(config.url)
    own = None if config.password is None else config.password.get_secret_value()
    found = {
        "username": config.username or (unquote(parts.username) if parts.username else None),
        "password": own if own is not None else (unquote(parts.password) if parts.password else None),
    }
    return {name: value for name, value in found.items() if value is not None}


def _without_credentials(url: str) -> str:
    scheme, _, rest = url.partition("://")
    named = urlsplit(url).netloc.rpartition("@")[0]
    return f"{scheme}://{rest.removeprefix(f'{named}@')}"


def _sentinels(config: ConnectionConfig) -> list[tuple[str, int]]:
    split = (sentinel.rpartition(":") for sentinel in config.sentinels)
    return [(host.strip("[]"), int(port)) for host, _, port in split]


def _sentinel_options(config: ConnectionConfig) -> dict[str, Any]:
    options: dict[str, Any] = {"socket_timeout": config.timeout_s, "socket_connect_timeout": config.timeout_s}
    if config.sentinel_username is not None:
        options["username"] = config.sentinel_username
    if config.sentinel_password is not None:
        options["password"] = config.sentinel_password.get_secret_value()
    if config.sentinel_tls and config.url.startswith("rediss://"):
        options |= {"ssl": True, **tls.options(config)}
    return options


def _db(config: ConnectionConfig) -> int:
    parts = urlsplit(config.url)
    named = parse_qs(parts.query).get("db") or [parts.path.strip("/")]
    return int(named[0]) if named[0].isdecimal() else 0  # the path of a Unix socket is none


def shown(config: ConnectionConfig) -> str:
    """The server as messages name it: without any password."""
    if config.sentinels:
        return f"{config.sentinel_master!r} at the Sentinels {', '.join(config.sentinels)}"
    scheme, _, rest = config.url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
