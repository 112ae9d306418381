"""The settings of the store, and those of any connection to a Redis or Valkey server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from opspawn.contracts.plugins import PluginConfig

Durability = Literal["always", "everysec", "none"]


class ConnectionConfig(PluginConfig):
    """Where the server is, and how to reach it."""

    url: str = Field(
        default="redis://127.0.0.1:6379/0",
        description='The server: "redis://HOST:PORT/DB", "rediss://…" for TLS, or "unix:///PATH/redis.sock?db=0".',
    )
    namespace: str = Field(
        default="opspawn",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Keeps apart what shares a server; the same for all processes of an app.",
    )
    username: str | None = Field(default=None, min_length=1, description="The ACL user; unset, that of the URL.")
    password: SecretStr | None = Field(default=None, description="The password; unset, that of the URL.")
    tls_ca: str | None = Field(default=None, description="A file with the certificates to trust; unset, the system's.")
    tls_cert: str | None = Field(default=None, description="A file with the certificate to show to the server.")
    tls_key: str | None = Field(default=None, description="A file with the key of `tls_cert`.")
    sentinels: list[str] = Field(
        default=[], description='Sentinels as "HOST:PORT"; they say where the server is, and `url` only which DB.'
    )
    sentinel_master: str = Field(default="mymaster", min_length=1, description="What the Sentinels call the server.")
    sentinel_password: SecretStr | None = Field(default=None, description="The password of the Sentinels.")
    timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="Seconds to wait for a connection, or for a reply, before trying again."
    )

    @field_validator("url")
    @classmethod
    def _has_a_scheme(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError('must begin with "redis://", "rediss://" or "unix://"')
        return url

    @field_validator("sentinels")
    @classmethod
    def _has_ports(cls, sentinels: list[str]) -> list[str]:
        for sentinel in sentinels:
            host, _, port = sentinel.rpartition(":")
            if not (host and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f'"{sentinel}" must be "HOST:PORT"')
        return sentinels

    @model_validator(mode="after")
    def _tls_needs_its_scheme(self) -> ConnectionConfig:
        if (self.tls_ca or self.tls_cert or self.tls_key) and not self.url.startswith("rediss://"):
            raise ValueError('tls_ca, tls_cert and tls_key need a url that begins with "rediss://"')
        return self


class RedisConfig(ConnectionConfig):
    """The section `[plugins.redis]`."""

    durability: Durability = Field(
        default="everysec",
        description='What a crash of the server may take: "always" nothing (appendfsync always), "everysec" about the '
        'last second (AOF), "none" everything since its last snapshot. What the server does not offer is refused.',
    )
    ack_replicas: int = Field(
        default=0,
        ge=0,
        le=16,
        description="How many replicas should have a commit before it returns (WAIT, for 100 ms at most). A fail-over "
        "then loses less, but it is no guarantee.",
    )
    retry_s: float = Field(
        default=5.0,
        ge=0,
        le=300,
        description="Seconds for which a call is tried again while the server cannot be reached, or is starting.",
    )


class ArqConfig(ConnectionConfig):
    """The section `[plugins.arq]`."""

    health_check_s: int = Field(
        default=30, ge=1, le=3600, description="How often arq's worker tells that it lives, in seconds."
    )
