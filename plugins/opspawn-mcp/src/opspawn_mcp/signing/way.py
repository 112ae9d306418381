"""The SDK's OAuth client, for one request: discovery, registration, and the making of requests for tokens.

It stops where a person is needed, since the two halves of a sign-in may lie days and processes apart.
"""

from __future__ import annotations

from typing import Any, TypeVar

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, PKCEParameters
from mcp.client.auth.utils import validate_authorization_response_iss
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from mcp.shared.auth import OAuthMetadata as Metadata
from pydantic import AnyUrl, BaseModel

from opspawn_mcp.signing.settings import CodeConfig
from opspawn_mcp.signing.vault import Kept

K = TypeVar("K", bound=BaseModel)

#: How long an authorization server may take for an answer, in seconds.
_PATIENCE_S = 20.0
TIMES = dict.fromkeys(("connect", "read", "write", "pool"), _PATIENCE_S)


class Way(OAuthClientProvider):
    """From what is kept of a server to requests. `parked` is given where a person is needed: send it to nobody."""

    def __init__(self, url: str, config: CodeConfig, kept: Kept, version: str | None, *, allow_private: bool) -> None:
        about = OAuthClientMetadata(
            client_name="Opspawn",
            redirect_uris=[AnyUrl(config.redirect_uri)],
            token_endpoint_auth_method="none",
            scope=config.scope,
        )
        super().__init__(url, about, _Unused(), client_metadata_url=config.client_metadata_url)
        self.parked = httpx2.Request("GET", "https://sign-in.invalid/")
        self._config = config
        self._bound = config.issuer or kept.issuer
        self._allow_private = allow_private
        context = self.context
        context.protocol_version = version
        context.client_info = _given(config) or _registered(config, kept)
        context.oauth_metadata = _parsed(Metadata, kept.metadata)
        context.protected_resource_metadata = _parsed(ProtectedResourceMetadata, kept.resource)
        context.current_tokens = _parsed(OAuthToken, kept.tokens)
        context.token_expiry_time = kept.expires_at
        self._initialized = True

    async def renewal(self) -> httpx2.Request | None:
        """The request for new tokens; None if there is nothing to renew them with."""
        if not self.context.can_refresh_token() or self.context.oauth_metadata is None:
            return None
        request = await self._refresh_token()
        request.extensions["timeout"] = TIMES
        return request

    async def exchange(self, result: AuthorizationCodeResult, verifier: str) -> httpx2.Request:
        """The request for tokens for a code. Raises: OAuthFlowError: the code is another server's."""
        validate_authorization_response_iss(result.iss, self.context.oauth_metadata)
        request = await self._exchange_token_authorization_code(result.code, verifier)
        request.extensions["timeout"] = TIMES
        return request

    def found(self) -> dict[str, Any]:
        """What was found out: the members client, metadata and resource of `Kept`."""
        context = self.context
        return {
            "client": _json(context.client_info),
            "metadata": _json(context.oauth_metadata),
            "resource": _json(context.protected_resource_metadata),
        }

    def _select_authorization_server(self, advertised: list[str]) -> str:
        """The one that the server is bound to, if it is; else the first. Raises: OAuthFlowError: it is not there."""
        bound = self._bound
        if bound is None:
            return advertised[0]
        found = next((one for one in advertised if _same(one, bound)), None)
        if found is None:
            raise OAuthFlowError(_other(advertised[0], bound))
        return found

    async def _perform_authorization(self) -> httpx2.Request:
        """A person is needed. Raises: OAuthFlowError: not there."""
        metadata, bound = self.context.oauth_metadata, self._bound
        if metadata is None:
            raise OAuthFlowError("its authorization server does not describe itself (RFC 8414)")
        if bound is not None and not _same(str(metadata.issuer), bound):
            raise OAuthFlowError(_other(str(metadata.issuer), bound))
        if "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise OAuthFlowError("its authorization server does not offer PKCE with S256")
        if not self._allow_private and (plain := _plain(metadata)):
            raise OAuthFlowError(f"its authorization server names {plain}, which is not https")
        return self.parked


def proof() -> PKCEParameters:
    """A new secret for one sign-in, and what is shown of it (PKCE)."""
    return PKCEParameters.generate()


class _Unused:
    """The SDK's storage, which is not asked: the vault is."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        return None

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        return None


def _given(config: CodeConfig) -> OAuthClientInformationFull | None:
    """The client of the configuration, if there is one."""
    if config.client_id is None:
        return None
    secret = None if config.client_secret is None else config.client_secret.get_secret_value()
    return OAuthClientInformationFull(
        client_id=config.client_id,
        client_secret=secret,
        redirect_uris=[AnyUrl(config.redirect_uri)],
        token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
        issuer=config.issuer,
    )


def _registered(config: CodeConfig, kept: Kept) -> OAuthClientInformationFull | None:
    """The client that we registered as, unless it was for another redirect."""
    client = _parsed(OAuthClientInformationFull, kept.client)
    asked = None if client is None or client.redirect_uris is None else [str(uri) for uri in client.redirect_uris]
    return client if asked is None or config.redirect_uri in asked else None


def _plain(metadata: Metadata) -> str | None:
    used = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.registration_endpoint)
    return next((str(one) for one in used if one is not None and one.scheme != "https"), None)


def _same(one: str, other: str) -> bool:
    """Whether two issuers are one: the same text, but for the slash of an address without a path."""
    bare = one.rstrip("/")
    return one == other or (bare == other.rstrip("/") and bare.count("/") == 2)


def _other(found: str, bound: str) -> str:
    return f"it names the authorization server {found}, and is bound to {bound}"


def _parsed(kind: type[K], data: dict[str, Any] | None) -> K | None:
    return None if data is None else kind.model_validate(data)


def _json(model: BaseModel | None) -> dict[str, Any] | None:
    return None if model is None else model.model_dump(mode="json", exclude_none=True)
