"""Listening: an address is taken before it is served, so that a taken port is an error and not a log line."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator

import uvicorn

from opspawn.contracts.asgi import Asgi
from opspawn.errors import ConfigError

KEEP_ALIVE_S = 75
#: Requests in flight get this long at a stop, in seconds; open event streams end at once.
GRACE_S = 3


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to the CLI."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """An HTTP server at one address; `section` is that of the configuration, for messages."""

    def __init__(self, host: str, port: int, section: str) -> None:
        self._host = host
        self._port = port
        self._section = section
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens, e.g. "http://127.0.0.1:8000"."""
        port = self._socket.getsockname()[1] if self._socket is not None else self._port
        name = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{name}:{port}"

    def bind(self) -> None:
        """Take the address, without serving it yet. Raises: ConfigError."""
        self._socket = _bind(self._host, self._port, self._section)

    async def serve(self, app: Asgi) -> None:
        """Begin to serve. Raises: ConfigError: the address was taken in the meantime."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        _listen(self._socket)
        self._server = _Server(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                server_header=False,
            )
        )
        self._serving = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name=self._section.replace("plugins.", "opspawn-")
        )
        while not self._server.started:
            await asyncio.sleep(0.005)
            if self._serving.done():
                self._serving.result()

    async def stop(self) -> None:
        """Stop accepting, let requests in flight finish within a few seconds. Idempotent."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(host: str, port: int, section: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            f"{section}.host: {host!r} is no address of this machine.", remedy="Use 127.0.0.1."
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _not_to_be_had(host, port, error) from error
    return listener


def _listen(bound: socket.socket) -> None:
    """Two processes may bind the same address while neither listens yet; the second of them learns of it here."""
    try:
        bound.listen(2048)
        bound.setblocking(False)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _not_to_be_had(host, port, error) from error


def _not_to_be_had(host: str, port: int, error: OSError) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        remedy = "Stop what uses it, or choose another: --port 0 takes a free one."
        return ConfigError(f"Port {port} on {host} is in use.", remedy=remedy)
    if error.errno == errno.EACCES:
        return ConfigError(f"Port {port} needs privileges that this user lacks.", remedy="Choose a port from 1024.")
    return ConfigError(f"Cannot listen on {host}:{port}: {error.strerror}.", remedy="Use an address of this machine.")
