"""Connections to remote servers, for `httpcore2`: each address is looked at before it is connected to.

Its own streams set a deadline and a checkpoint at each read and write; this stands directly on a transport of asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import httpcore2

#: So much may wait to be read, in bytes.
_MOST_BYTES = 64 * 1024

#: Looks at all addresses of a host; raises where one of them must not be connected to.
Look = Callable[[str, list[str]], None]


class Backend(httpcore2.AsyncNetworkBackend):
    """Resolves a name once per connection, and connects to the address that was looked at."""

    def __init__(self, look: Look) -> None:
        self._look = look

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # its name
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection. Raises: what `look` raises; httpcore2.ConnectError, httpcore2.ConnectTimeout."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = [str(entry[4][0]) for entry in found]
                self._look(host, addresses)
                for address in addresses[:-1]:
                    with contextlib.suppress(OSError):
                        return (await loop.create_connection(Wire, address, port))[1]
                return (await loop.create_connection(Wire, addresses[-1], port))[1]
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"{host} did not take the connection within {timeout:g} s") from error
        except socket.gaierror as error:
            raise httpcore2.ConnectError(f"{host} has no address: {error.strerror or error}") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"{host}, port {port}: {error.strerror or error}") from error


class Wire(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._came = bytearray()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    # -- what httpcore2 does -------------------------------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """What came, when it has; nothing at the end. Raises: httpcore2.ReadError, httpcore2.ReadTimeout."""
        if not self._came and not self._ended:
            self._waiter = self._loop.create_future()
            try:
                async with nullcontext() if timeout is None else asyncio.timeout(timeout):
                    await self._waiter
            except TimeoutError as error:
                raise httpcore2.ReadTimeout from error
            finally:
                self._waiter = None
        data = bytes(self._came[:max_bytes])
        del self._came[:max_bytes]
        if len(self._came) < _MOST_BYTES:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send it, and return once there is room for more. Raises: httpcore2.WriteError, httpcore2.WriteTimeout."""
        if self._ended or self._transport.is_closing():
            raise httpcore2.WriteError("the connection was closed")
        if buffer:
            self._transport.write(buffer)
        if self._room is not None:
            try:
                async with asyncio.timeout(timeout):
                    await asyncio.shield(self._room)
            except TimeoutError as error:
                raise httpcore2.WriteTimeout from error

    async def aclose(self) -> None:
        """Close it."""
        self._transport.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        """The same, encrypted. Raises: httpcore2.ConnectError, httpcore2.ConnectTimeout."""
        try:
            async with asyncio.timeout(timeout):
                transport = await self._loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error
        except OSError as error:  # of TLS, too
            raise httpcore2.ConnectError(str(error)) from error
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore2 asks for."""
        if info == "is_readable":  # of a connection that waits for its next request: it is over
            return self._ended or bool(self._came)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))

    # -- what asyncio does ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._came += data
        if len(self._came) >= _MOST_BYTES:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Nothing more will."""
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._ended = True
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:
        """Too much waits to be sent."""
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
