"""What is kept of a sign-in: sealed, in one file per server, which several processes share.

Whoever renews tokens holds the lock of the server's file meanwhile, and reads it again first: a refresh token is good
for one use, and one that two processes use is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from opspawn.errors import ConfigError
from opspawn_mcp.signing.keys import sealer
from opspawn_mcp.signing.settings import TokensConfig

_FORMAT = 1
#: How long one waits for another process that renews tokens, in seconds.
_PATIENCE_S = 60.0
_TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Kept:
    """All that is kept of one server.

    Attributes:
        issuer: the authorization server that this server is bound to.
        client, metadata, resource: what is known of us, of the authorization server and of the MCP server, as JSON.
        tokens: the tokens, as JSON. expires_at: when the access token ends, in epoch seconds.
        pending: a sign-in that has begun: its address, and what is needed to end it.
    """

    issuer: str | None = None
    client: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    resource: dict[str, Any] | None = None
    tokens: dict[str, Any] | None = None
    expires_at: float | None = None
    pending: dict[str, Any] | None = None

    def with_(self, **changes: Any) -> Kept:
        """The same with some changes."""
        return replace(self, **changes)


EMPTY = Kept()


class Vault:
    """The folder of sealed files. Secrets are in memory only while they are used, and in no message of an error."""

    def __init__(self, config: TokensConfig, root: Path) -> None:
        self.folder = root / config.folder
        self._config = config
        self._root = root
        self._read: dict[str, tuple[tuple[int, int, int], Kept]] = {}

    def read(self, server: str, url: str) -> Kept:
        """What is kept of a server at an address; nothing, if that was for another address. Raises: ConfigError."""
        path = self._path(server)
        try:
            stat = os.stat(path)
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            known = self._read.get(server)
            if known is None or known[0] != seen:
                known = self._read[server] = seen, self._opened(server, url, path.read_bytes())
        except FileNotFoundError:
            return EMPTY
        except OSError as error:
            raise ConfigError(f"The kept tokens {path} cannot be read: {error.strerror}.") from error
        return known[1]

    def write(self, server: str, url: str, kept: Kept) -> None:
        """Put down what is kept from now on; to be called under the lock. Raises: ConfigError: it cannot be written."""
        told = {"version": _FORMAT, "server": server, "url": url, **asdict(kept)}
        data = self._key(make=True).encrypt(json.dumps(told).encode())
        path = self._path(server)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise ConfigError(f"The kept tokens {path} cannot be written: {error.strerror}.") from error
        self._read.pop(server, None)

    def forget(self, server: str) -> None:
        """Keep nothing more of a server; to be called under the lock. Raises: ConfigError."""
        try:
            self._path(server).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"The kept tokens of {server} cannot be removed: {error.strerror}.") from error
        self._read.pop(server, None)

    @asynccontextmanager
    async def lock(self, server: str) -> AsyncIterator[None]:
        """Nobody else, in no process, writes what is kept of the server within. Raises: ConfigError: not to be had."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self.folder / f"{server}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The folder of kept tokens {self.folder} cannot be used: {error.strerror}.") from error
        try:
            left = _PATIENCE_S
            while not _taken(file):
                if (left := left - _TICK_S) <= 0:
                    raise ConfigError(f"Another process holds the tokens of the MCP server {server} for too long.")
                await asyncio.sleep(_TICK_S)
            yield
        finally:
            os.close(file)

    def _path(self, server: str) -> Path:
        return self.folder / f"{server}.sealed"

    def _key(self, *, make: bool = False) -> Fernet:
        found = sealer(self._config, self._root, make=make)
        if found is None:
            raise ConfigError(
                "There are kept MCP tokens, and the key that sealed them is gone.",
                remedy="Bring the key back, or sign in anew: opspawn mcp logout NAME, then login.",
            )
        return found

    def _opened(self, server: str, url: str, data: bytes) -> Kept:
        path = self._path(server)
        try:
            told = json.loads(self._key().decrypt(data))
            if told.pop("version") != _FORMAT or told.pop("server") != server:
                raise ValueError
            return Kept(**told) if told.pop("url") == url else EMPTY
        except (InvalidToken, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"The kept tokens {path} cannot be opened: they were sealed with another key, or changed.",
                remedy=f"Bring the key back, or sign in anew: opspawn mcp logout {server}, then login.",
            ) from None


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
