"""A remote MCP server that asks for OAuth, and its authorization server, on one port: for tests."""

from __future__ import annotations

import base64
from typing import Any

from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

TOKEN = "the-access-token"


class Guarded:
    """Both servers. `asked` are the requests for tokens: the grant, the scope, who asks with which secret."""

    def __init__(self, url: str) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.url = url
        self._issuer = f"{url}/"
        server = MCPServer("guarded", auth=self._settings(), token_verifier=self)

        @server.tool()
        async def whoami(context: Context[Any]) -> str:
            """Say it."""
            return "a client with a token"

        self.server = server
        self.app = server.streamable_http_app(host="127.0.0.1")
        self.app.router.routes.append(Route("/.well-known/oauth-authorization-server", self._metadata))
        self.app.router.routes.append(Route("/token", self._token, methods=["POST"]))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whether a token is ours."""
        return AccessToken(token=token, client_id="opspawn", scopes=["tools"]) if token == TOKEN else None

    def _settings(self) -> AuthSettings:
        return AuthSettings.model_validate(
            {
                "issuer_url": self._issuer,
                "resource_server_url": f"{self.url}/mcp",
                "required_scopes": ["tools"],
                "validate_token_resource": False,
            }
        )

    async def _metadata(self, request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "issuer": self._issuer,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "response_types_supported": ["code"],
                "grant_types_supported": ["client_credentials"],
            }
        )

    async def _token(self, request: Request) -> JSONResponse:
        form = await request.form()
        shown = base64.b64decode(request.headers.get("authorization", " ").partition(" ")[2]).decode()
        self.asked.append((str(form.get("grant_type")), str(form.get("scope")), shown))
        if not shown.endswith(":right"):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        return JSONResponse({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})
