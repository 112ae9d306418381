"""The way to remote servers: every address is looked at before it is connected to, and every answer has a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping

import httpx2

from opspawn.ops.agents.egress import is_global

_EVENTS = "text/event-stream"
#: How long an address that was looked at is used, in seconds.
_KEPT_S = 30.0


class ForbiddenAddress(httpx2.ConnectError):
    """An address that may not be connected to."""


class TooLong(httpx2.ReadError):
    """An answer that exceeds its limit."""


def guarded_client(
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    most_bytes: int,
    connect_timeout_s: float,
    on_error: Callable[[str], None] = lambda status: None,
    auth: httpx2.Auth | None = None,
) -> httpx2.AsyncClient:
    """A client that connects only to addresses which were looked at, for all that goes to one server.

    Args:
        headers: sent with each request.
        allow_private: whether addresses that are not global, and plain http, will do.
        most_bytes: how long an answer may be, or an event of a stream.
        connect_timeout_s: seconds for a connection; answers may take as long as their caller waits.
        on_error: told the status of an answer that is an error, or that one is too long: the SDK keeps it to itself.
        auth: signs the requests; its own are guarded alike.
    """
    return httpx2.AsyncClient(
        headers=dict(headers),
        auth=auth,
        timeout=httpx2.Timeout(connect_timeout_s, read=None),
        transport=GuardedTransport(allow_private, most_bytes, on_error),
    )


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Resolves a name once, refuses it if any of its addresses is not global, and connects to the one it looked at."""

    def __init__(
        self, allow_private: bool, most_bytes: int, on_error: Callable[[str], None] = lambda status: None
    ) -> None:
        self._on_error = on_error
        self._allow_private = allow_private
        self._most_bytes = most_bytes
        self._inner: dict[str, httpx2.AsyncHTTPTransport] = {}
        self._known: dict[tuple[str, int], tuple[str, float]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises: ForbiddenAddress, TooLong; and what httpx2 raises."""
        url = request.url
        if url.scheme != "https" and not self._allow_private:
            raise ForbiddenAddress(f"{_shown(url)} is not https", request=request)
        address = await self._address(url.host, url.port or (443 if url.scheme == "https" else 80), request)
        # One pool per name: two names at one address must not share a connection, which was made for one of them.
        inner = self._inner.get(url.host)
        if inner is None:
            inner = self._inner[url.host] = httpx2.AsyncHTTPTransport()
        direct = httpx2.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": url.host},
        )
        response = await inner.handle_async_request(direct)
        if response.status_code >= 400:
            self._on_error(f"HTTP {response.status_code}")
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        by_event = response.headers.get("content-type", "").startswith(_EVENTS)
        response.stream = _Limited(stream, self._most_bytes, request, by_event, self._on_error)
        return response

    async def _address(self, host: str, port: int, request: httpx2.Request) -> str:
        address, until = self._known.get((host, port), ("", 0.0))
        if time.monotonic() < until:
            return address
        address = await self._looked_at(host, port, request)
        self._known[host, port] = address, time.monotonic() + _KEPT_S
        return address

    async def _looked_at(self, host: str, port: int, request: httpx2.Request) -> str:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # SOCK_STREAM
        except OSError as error:
            raise httpx2.ConnectError(f"{host} has no address: {error.strerror or error}", request=request) from error
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and (inner := [one for one in addresses if not is_global(one)]):
            words = f"{_shown(request.url)} lies at {inner[0]}, which is no public address (allow_private)"
            raise ForbiddenAddress(words, request=request)
        return addresses[0]

    async def aclose(self) -> None:
        """Close all connections."""
        for inner in self._inner.values():
            await inner.aclose()


class _Limited(httpx2.AsyncByteStream):
    """A body of so many bytes; of a stream of events, each of these."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        most: int,
        request: httpx2.Request,
        by_event: bool,
        on_error: Callable[[str], None],
    ) -> None:
        self._by_event = by_event
        self._on_error = on_error
        self._inner = inner
        self._most = most
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            if self._by_event and (end := max(chunk.rfind(b"\n\n"), chunk.rfind(b"\r\n\r\n"))) >= 0:
                seen = len(chunk) - end
            if seen > self._most:
                words = f"more than {self._most:,} bytes (max_message_bytes)"
                self._on_error(words)
                raise TooLong(f"{_shown(self._request.url)} answered with {words}", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _shown(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
