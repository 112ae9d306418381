"""`transports = ["mcp"]`: the MCP server over streamable HTTP, by the server of REST or at an address of its own."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from opspawn.contracts.mounting import Mount
from opspawn.contracts.transport import Host, Transport
from opspawn.errors import ConfigError
from opspawn.rest.listening import Listener, is_loopback
from opspawn_mcp.ending import ended
from opspawn_mcp.serving.keys import Keys
from opspawn_mcp.serving.server import McpServer
from opspawn_mcp.settings import McpConfig

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_SECTION = "plugins.mcp.serve"
_HOST, _PORT = "127.0.0.1", 8001
#: How long a stop waits for the answers to calls that are open, and then for the sessions to end, in seconds.
_ANSWERS_S, _END_S = 2.0, 5.0


class McpTransport:
    """See `opspawn.contracts.transport.Transport`; and `opspawn.contracts.mounting.Mountable`."""

    def __init__(self, host: Host, config: McpConfig) -> None:
        self._config = serve = config.serve
        self._keys = Keys(serve.keys)
        self._server = McpServer(host, serve, self._keys)
        self._listener = Listener(serve.host or _HOST, _PORT if serve.port is None else serve.port, _SECTION)
        self._carrier: Transport | None = None
        self._app: ASGIApp | None = None
        self._sessions: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        #: Those who are being answered; streams on which clients are told of things are not among them.
        self._answering: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        return f"{(self._carrier or self._listener).address}{self._config.path}"

    def mount(self) -> Mount | None:
        serve = self._config
        if serve.host is not None or serve.port is not None:
            return None
        return Mount(serve.path, self._answer, _SECTION, serve.max_body_bytes, serve.allowed_hosts)

    def mounted(self, carrier: Transport) -> None:
        self._carrier = carrier

    async def bind(self) -> None:
        host = self._host()
        if not is_loopback(host) and not self._keys and not self._config.allow_public:
            place = f"{_SECTION}.host" if self._carrier is None else _SECTION
            raise ConfigError(
                f"{place}: {host} is no loopback address, and there are no keys.",
                remedy=f"Use 127.0.0.1, or add [{_SECTION}.keys.NAME]; or set {_SECTION}.allow_public = true behind a "
                "proxy that checks who calls.",
            )
        if self._carrier is None:
            self._listener.bind()

    async def start(self) -> None:
        await self._server.offers.check()
        manager = StreamableHTTPSessionManager(
            self._server.sdk, security_settings=self._security(), max_request_body_size=self._config.max_body_bytes
        )
        running = asyncio.Event()
        self._sessions = asyncio.create_task(self._hold(manager, running), name="opspawn-mcp-sessions")
        await running.wait()
        endpoint, path = self._keys.guarded(StreamableHTTPASGIApp(manager)), self._config.path
        paths = dict.fromkeys((path, f"{path.rstrip('/')}/"))
        routes = [Route(each, endpoint=endpoint) for each in paths]
        self._app = Starlette(routes=routes, exception_handlers={404: self._nowhere})
        if self._carrier is None:
            await self._listener.serve(self._answer)

    async def stop(self) -> None:
        self._app = None
        self._server.stop()
        if self._answering:
            await asyncio.wait(self._answering, timeout=_ANSWERS_S)
        self._over.set()  # sessions first: their streams would hold the listener up
        if self._sessions is not None:
            await ended(self._sessions, _END_S)
        await self._listener.stop()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, while it is open."""
        app, task = self._app, asyncio.current_task()
        if app is None or task is None:
            app = PlainTextResponse("The MCP server is not open now.", 503, {"Retry-After": "5"})
        elif scope.get("method") == "POST":
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        await app(scope, receive, send)

    async def _nowhere(self, request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"There is no path {request.url.path}; MCP is at {self._config.path}.", 404)

    async def _hold(self, manager: StreamableHTTPSessionManager, running: asyncio.Event) -> None:
        """Keep the sessions, in one task from their begin to their end, as the SDK wants it."""
        async with manager.run():
            running.set()
            await self._over.wait()

    def _host(self) -> str:
        """The address under which it is reached."""
        return urlsplit((self._carrier or self._listener).address).hostname or ""

    def _security(self) -> TransportSecuritySettings:
        """Which names and pages may call: by no other may a web page reach in."""
        host = self._host()
        own = f"[{host}]" if ":" in host else host
        names = dict.fromkeys((*_LOCAL, own)) if own not in ("0.0.0.0", "[::]") else dict.fromkeys(_LOCAL)
        hosts = [each for name in names for each in (name, f"{name}:*")]
        origins = [f"http://{name}:*" for name in _LOCAL]
        return TransportSecuritySettings(
            allowed_hosts=[*hosts, *self._config.allowed_hosts],
            allowed_origins=[*origins, *self._config.allowed_origins],
        )
