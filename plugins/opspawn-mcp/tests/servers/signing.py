"""A remote MCP server with an authorization server, both of the SDK, on one port, and the vices of a test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    RefreshToken,
    TokenError,
    construct_redirect_uri,
)
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Answer = Callable[[Request], Response]


class Signing:
    """Both servers.

    Attributes:
        asked: paths that were asked for, without those of MCP. calls: how often the tool was called.
        instead: answers by path, in place of the right ones. lives_s: how long an access token is good.
        refuses: an error of OAuth that people meet when they sign in. access, refresh: the tokens that are good now.
        exchanged: what was asked for with each code.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.issuer = url
        self.asked: list[str] = []
        self.calls = 0
        self.instead: dict[str, Answer] = {}
        self.lives_s = 3600
        self.refuses: Any = None
        self.iss: str | None = None
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.exchanged: list[AuthorizationCode] = []
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.renewals = 0
        settings: dict[str, Any] = {
            "issuer_url": url,
            "resource_server_url": f"{url}/mcp",
            "required_scopes": ["tools"],
            "validate_token_resource": False,
            "client_registration_options": {"enabled": True, "valid_scopes": ["tools"], "default_scopes": ["tools"]},
            "revocation_options": {"enabled": True},
        }
        server = MCPServer("signing", auth=AuthSettings.model_validate(settings), auth_server_provider=self)

        @server.tool()
        async def whoami() -> str:
            """Say it."""
            self.calls += 1
            return "ann"

        self.server = server
        self.app = _Vices(server.streamable_http_app(host="127.0.0.1"), self)

    def end_access(self) -> None:
        """No access token is good any more; refresh tokens are."""
        self.access.clear()

    # -- the provider of the SDK ---------------------------------------------------------------------------------------

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.clients[str(client_info.client_id)] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        if self.refuses is not None:
            raise AuthorizeError(error=self.refuses)
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=str(client.client_id),
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state, iss=self.iss)

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        self.exchanged.append(authorization_code)
        return self._tokens(authorization_code.client_id, authorization_code.scopes)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        if self.refresh.pop(refresh_token.token, None) is None:
            raise TokenError(error="invalid_grant")
        self.renewals += 1
        return self._tokens(refresh_token.client_id, scopes)

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self.access.get(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.clear()
        self.refresh.clear()

    async def exchange_identity_assertion(self, client: Any, params: Any) -> OAuthToken:
        raise TokenError(error="unsupported_grant_type")

    def _tokens(self, client: str, scopes: list[str]) -> OAuthToken:
        access, refresh = f"access-{secrets.token_urlsafe(16)}", f"refresh-{secrets.token_urlsafe(16)}"
        self.access[access] = AccessToken(token=access, client_id=client, scopes=scopes)
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client, scopes=scopes)
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=self.lives_s, scope=" ".join(scopes))


class _Vices:
    def __init__(self, app: ASGIApp, made: Signing) -> None:
        self._app = app
        self._made = made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path != "/mcp":
            self._made.asked.append(path)
        vice = self._made.instead.get(path)
        if vice is None or scope["type"] != "http":
            await self._app(scope, receive, send)
        else:
            await vice(Request(scope, receive))(scope, receive, send)
