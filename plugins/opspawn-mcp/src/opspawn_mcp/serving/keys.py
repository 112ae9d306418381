"""Who calls: by the key that the client shows, or anybody on this machine where there are no keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import BearerAuthBackend, RequireAuthMiddleware
from mcp.server.auth.provider import AccessToken
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.types import ASGIApp

from opspawn_mcp.serving.settings import SCOPES, KeyConfig, Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """A client: its name, by which policies know it too, what it may do, and which tools, as globs."""

    name: str = "mcp"
    scopes: frozenset[Scope] = frozenset(SCOPES)
    tools: tuple[str, ...] = ("*",)


class Keys:
    """The keys of the configuration; of each only the digest is kept."""

    def __init__(self, keys: Mapping[str, KeyConfig]) -> None:
        self._known = {
            name: (
                _digest(key.token.get_secret_value()),
                Caller(f"mcp/{name}", frozenset(key.scopes), tuple(key.tools)),
            )
            for name, key in keys.items()
        }

    def __bool__(self) -> bool:
        return bool(self._known)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose key it is; as the SDK wants it. Every key is compared with, whichever fits."""
        given, found = _digest(token), None
        for name, (digest, _) in self._known.items():
            if hmac.compare_digest(digest, given):
                found = name
        return None if found is None else AccessToken(token=found, client_id=found, scopes=[])

    def caller(self) -> Caller:
        """Who made the request that is being answered; where there are no keys, anybody."""
        if not self._known:
            return Caller()
        token = get_access_token()
        return self._known[token.client_id][1] if token else Caller("nobody", frozenset(), ())

    def guarded(self, app: ASGIApp) -> ASGIApp:
        """The application, for those who show a key; for all, where there are none."""
        if not self._known:
            return app
        known = AuthContextMiddleware(RequireAuthMiddleware(app, []))
        return AuthenticationMiddleware(known, backend=BearerAuthBackend(self))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
