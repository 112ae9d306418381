"""OAuth for remote servers, by client credentials: a token is fetched when a server asks for one, and kept in memory.

Nothing is written: the secret is a reference in the configuration, and every process fetches tokens of its own.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import httpx2
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from opspawn.errors import ConfigError
from opspawn_mcp.signing.settings import CredentialsConfig


def check_sdk(server: str) -> None:
    """Raises: ConfigError: this SDK cannot hold what is secret to its issuer."""
    if "issuer" not in inspect.signature(ClientCredentialsOAuthProvider).parameters:
        raise ConfigError(
            f"plugins.mcp.servers.{server}.auth: mcp {version('mcp')} may send the secret to whomever it likes.",
            remedy="Install a newer one: pip install -U mcp.",
        )


def auth_of(server: str, url: str, config: CredentialsConfig) -> httpx2.Auth:
    """What signs the requests to a server. Raises: ConfigError: this SDK cannot hold the secret to its issuer."""
    check_sdk(server)
    options: dict[str, Any] = {"issuer": config.issuer}
    return ClientCredentialsOAuthProvider(
        url, _Kept(), config.client_id, config.client_secret.get_secret_value(), scope=config.scope, **options
    )


class _Kept:
    """Tokens for as long as the process lives."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None
        self._client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info
