"""The way to remote servers: every address is looked at before it is connected to, and every answer has a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpcore2
import httpx2

from opspawn.ops.agents.egress import is_global
from opspawn_mcp.wire import Backend

_EVENTS = b"text/event-stream"
#: How long a connection is kept that nobody uses, in seconds: after that, addresses are looked at anew.
_KEPT_S = 5.0
_MOST_CONNECTIONS = 100


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
    """Connects to a name only if all its addresses may be connected to, and to no other; keeps connections."""

    def __init__(
        self, allow_private: bool, most_bytes: int, on_error: Callable[[str], None] = lambda status: None
    ) -> None:
        self._on_error = on_error
        self._allow_private = allow_private
        self._most_bytes = most_bytes
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEPT_S,
            network_backend=Backend(self._look),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises: ForbiddenAddress, TooLong; and what httpx2 raises."""
        url = request.url
        if url.scheme != "https" and not self._allow_private:
            raise ForbiddenAddress(f"{_shown(url)} is not https", request=request)
        direct = httpcore2.Request(
            request.method,
            httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = await self._pool.handle_async_request(direct)
        except Exception as error:
            raise _translated(error, request) from error
        if answer.status >= 400:
            self._on_error(f"HTTP {answer.status}")
        return httpx2.Response(
            answer.status,
            headers=answer.headers,
            stream=_Limited(answer, self._most_bytes, request, self._on_error),
            extensions=answer.extensions,
        )

    def _look(self, host: str, addresses: list[str]) -> None:
        if not self._allow_private and (inner := [one for one in addresses if not is_global(one)]):
            raise ForbiddenAddress(f"{host} lies at {inner[0]}, which is no public address (allow_private)")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def _translated(error: Exception, request: httpx2.Request) -> Exception:
    """An error of httpcore2 as httpx2 tells it, which has a class of the same name for each; any other as it is."""
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] == httpcore2.__name__:
            told: type[httpx2.RequestError] = getattr(httpx2, kind.__name__, httpx2.TransportError)
            return told(str(error), request=request)
    return error


class _Limited(httpx2.AsyncByteStream):
    """A body of so many bytes; of a stream of events, each of these."""

    def __init__(
        self, answer: httpcore2.Response, most: int, request: httpx2.Request, on_error: Callable[[str], None]
    ) -> None:
        kinds = (value for name, value in answer.headers if name.lower() == b"content-type")
        self._by_event = next(kinds, b"").startswith(_EVENTS)
        self._on_error = on_error
        self._inner: Any = answer.stream
        self._most = most
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        try:
            async for chunk in self._inner:
                seen += len(chunk)
                if self._by_event and (end := max(chunk.rfind(b"\n\n"), chunk.rfind(b"\r\n\r\n"))) >= 0:
                    seen = len(chunk) - end
                if seen > self._most:
                    words = f"more than {self._most:,} bytes (max_message_bytes)"
                    self._on_error(words)
                    raise TooLong(f"{_shown(self._request.url)} answered with {words}", request=self._request)
                yield chunk
        except Exception as error:
            if (told := _translated(error, self._request)) is error:
                raise
            raise told from error

    async def aclose(self) -> None:
        await self._inner.aclose()


def _shown(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
