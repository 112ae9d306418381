"""How a remote server is shown who calls: `[plugins.mcp.servers.NAME.auth]`, and where tokens are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, field_validator, model_validator

_URL = r"^https?://"
_SHORTEST_KEY = 32


class CredentialsConfig(BaseModel):
    """OAuth with the credentials of a client, without a human."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: Literal["client_credentials"] = Field("client_credentials", description="How: client_credentials.")
    client_id: str = Field(min_length=1, description="The id that the authorization server knows this client by.")
    client_secret: SecretStr = Field(description="Its secret, e.g. ${GITHUB_SECRET}.")
    issuer: str = Field(
        pattern=_URL,
        description="The authorization server, exactly as it names itself; the secret is sent to no other.",
    )
    scope: str | None = Field(None, min_length=1, description="What is asked for, with spaces between.")


class CodeConfig(BaseModel):
    """OAuth by authorization code with PKCE: a human signs in once, in a browser."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    type: Literal["authorization_code"] = Field(description="How: authorization_code.")
    client_id: str | None = Field(
        None,
        min_length=1,
        description="The id that the authorization server knows us by; unset, we register.",
    )
    client_secret: SecretStr | None = Field(None, description="Its secret, if it was given one; needs issuer.")
    client_metadata_url: str | None = Field(
        None,
        pattern=r"^https://[^/]+/.+",
        description="A document that describes us, where servers take one.",
    )
    issuer: str | None = Field(
        None,
        pattern=_URL,
        description="The authorization server, exactly as it names itself; unset, the one that is found at the first "
        "sign-in, and no other from then on.",
    )
    scope: str | None = Field(None, min_length=1, description="What is asked for, with spaces between.")
    redirect_port: int = Field(
        47010, ge=1024, le=65535, description="The port of http://127.0.0.1:PORT/callback, where the browser ends."
    )

    @property
    def redirect_uri(self) -> str:
        """Where the browser is sent at the end."""
        return f"http://127.0.0.1:{self.redirect_port}/callback"

    @model_validator(mode="after")
    def _fits(self) -> CodeConfig:
        if self.client_secret is not None and (self.client_id is None or self.issuer is None):
            raise ValueError("client_secret needs client_id and issuer: it is sent to no other")
        if self.client_id is not None and self.client_metadata_url is not None:
            raise ValueError("takes either client_id or client_metadata_url")
        return self


def _kind(given: Any) -> str:
    kind = given.get("type", "client_credentials") if isinstance(given, dict) else getattr(given, "type", None)
    return kind if isinstance(kind, str) else "?"


AuthConfig = Annotated[
    Annotated[CredentialsConfig, Tag("client_credentials")] | Annotated[CodeConfig, Tag("authorization_code")],
    Discriminator(
        _kind,
        custom_error_type="auth_type",
        custom_error_message="type is client_credentials or authorization_code",
    ),
]


class TokensConfig(BaseModel):
    """Where the tokens of people who signed in are kept, sealed, and with which key."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    folder: Path = Field(
        default=Path("mcp-tokens"), description="The folder of the sealed tokens; relative to that of opspawn.toml."
    )
    encryption_key: SecretStr | None = Field(
        default=None, description="What seals them, 32 characters or more, e.g. ${MCP_TOKENS_KEY}; unset, the key file."
    )
    key_file: Path | None = Field(
        default=None,
        description="A file with the key, that only its owner may read; made at the first sign-in. "
        "Unset, ~/.config/opspawn/mcp-tokens.key.",
    )

    @field_validator("encryption_key")
    @classmethod
    def _is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(f"has fewer than {_SHORTEST_KEY} characters; 'openssl rand -base64 32' makes one")
        return key

    @model_validator(mode="after")
    def _has_one_key(self) -> TokensConfig:
        if self.encryption_key is not None and self.key_file is not None:
            raise ValueError("takes either encryption_key or key_file")
        return self
