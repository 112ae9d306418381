"""`transports = ["mcp"]`: the MCP server over streamable HTTP, on an address of its own beside REST."""

from __future__ import annotations

import asyncio

from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Route

from opspawn.contracts.transport import Host
from opspawn.errors import ConfigError
from opspawn.rest.listening import Listener, is_loopback
from opspawn_mcp.ending import ended
from opspawn_mcp.serving.keys import Keys
from opspawn_mcp.serving.server import McpServer
from opspawn_mcp.settings import McpConfig

_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_SECTION = "plugins.mcp.serve"
_END_S = 5.0


class McpTransport:
    """See `opspawn.contracts.transport.Transport`."""

    def __init__(self, host: Host, config: McpConfig) -> None:
        self._config = config.serve
        self._keys = Keys(config.serve.keys)
        self._server = McpServer(host, config.serve, self._keys)
        self._listener = Listener(self._config.host, self._config.port, _SECTION)
        self._manager = StreamableHTTPSessionManager(
            self._server.sdk,
            security_settings=self._security(),
            max_request_body_size=self._config.max_body_bytes,
        )
        self._sessions: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    @property
    def address(self) -> str:
        return f"{self._listener.address}{self._config.path}"

    async def bind(self) -> None:
        serve = self._config
        if not is_loopback(serve.host) and not self._keys and not serve.allow_public:
            raise ConfigError(
                f"{_SECTION}.host: {serve.host} is no loopback address, and there are no keys.",
                remedy=f"Use 127.0.0.1, or add [{_SECTION}.keys.NAME]; or set {_SECTION}.allow_public = true behind a "
                "proxy that checks who calls.",
            )
        self._listener.bind()

    async def start(self) -> None:
        await self._server.offers.check()
        running = asyncio.Event()
        self._sessions = asyncio.create_task(self._hold(running), name="opspawn-mcp-sessions")
        await running.wait()
        endpoint = self._keys.guarded(StreamableHTTPASGIApp(self._manager))
        await self._listener.serve(Starlette(routes=[Route(self._config.path, endpoint=endpoint)]))

    async def stop(self) -> None:
        self._server.stop()
        self._over.set()  # sessions first: their streams would hold the listener up
        if self._sessions is not None:
            await ended(self._sessions, _END_S)
        await self._listener.stop()

    async def _hold(self, running: asyncio.Event) -> None:
        """Keep the sessions, in one task from their begin to their end, as the SDK wants it."""
        async with self._manager.run():
            running.set()
            await self._over.wait()

    def _security(self) -> TransportSecuritySettings:
        """Which names and pages may call: by no other may a web page reach in."""
        own = "[" + self._config.host + "]" if ":" in self._config.host else self._config.host
        names = dict.fromkeys((*_LOCAL, own)) if own not in ("0.0.0.0", "[::]") else dict.fromkeys(_LOCAL)
        hosts = [each for name in names for each in (name, f"{name}:*")]
        origins = [f"http://{name}:*" for name in _LOCAL]
        return TransportSecuritySettings(
            allowed_hosts=[*hosts, *self._config.allowed_hosts],
            allowed_origins=[*origins, *self._config.allowed_origins],
        )
