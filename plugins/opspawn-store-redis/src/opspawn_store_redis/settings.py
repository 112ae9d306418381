"""The settings of the store, and those of any connection to a Redis or Valkey server."""

from __future__ import annotations

from typing import ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from opspawn.contracts.plugins import PluginConfig

Durability = Literal["always", "everysec", "none"]


class ConnectionConfig(PluginConfig):
    """Where the server is, and how to reach it. `section` is where to correct that."""

    section: ClassVar[str] = "[plugins.redis]"

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
    tls_ca: str | None = Field(default=None, description="A PEM file with certificates to trust beside the system's.")
    tls_cert: str | None = Field(default=None, description="A PEM file with the certificate to show to the server.")
    tls_key: str | None = Field(
        default=None, description="A PEM file with the key of `tls_cert`, not encrypted; it may be the same file."
    )
    tls_check_hostname: bool = Field(
        default=True, description="Whether the server's certificate must name the host by which it is reached."
    )
    sentinels: list[str] = Field(
        default=[], description='Sentinels as "HOST:PORT"; they say where the server is, and `url` all but that.'
    )
    sentinel_master: str = Field(default="mymaster", min_length=1, description="What the Sentinels call the server.")
    sentinel_username: str | None = Field(default=None, min_length=1, description="The ACL user of the Sentinels.")
    sentinel_password: SecretStr | None = Field(default=None, description="The password of the Sentinels.")
    sentinel_tls: bool = Field(
        default=True, description='Whether the Sentinels speak TLS as well where `url` begins with "rediss://".'
    )
    timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="Seconds to wait for a connection, or for a reply, before trying again."
    )

    @field_validator("url")
    @classmethod
    def _has_a_scheme(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError('must begin with "redis://", "rediss://" or "unix://"')
        return url

    @field_validator("url")
    @classmethod
    def _is_no_misprint(cls, url: str) -> str:
        """What redis-py would take for database 0, or fail at in words of its own."""
        parts = urlsplit(url)
        if parts.scheme != "unix":
            if "@" in f"{parts.path}{parts.query}{parts.fragment}":
                raise ValueError(
                    'must have "/", "?" and "#" of a password as %2F, %3F and %23; or set password instead'
                )
            try:
                port = parts.port
            except ValueError:
                port = 0
            if port == 0:
                raise ValueError("must have a number from 1 to 65535 as the port")
            if (db := parts.path.strip("/")) and not db.isdecimal():
                raise ValueError(f'must end with the number of a database, e.g. "/0", and not with "/{db}"')
        for db in parse_qs(parts.query).get("db", ()):
            if not db.isdecimal():
                raise ValueError(f'must have a number as "db", and not "{db}"')
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
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key need each other; where one file holds both, name it twice")
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
    """The section `[plugins.arq]`. What it leaves out is that of the store, if that is on a server as well."""

    section: ClassVar[str] = "[plugins.arq]"

    health_check_s: int = Field(
        default=30, ge=1, le=3600, description="How often arq's worker tells that it lives, in seconds."
    )

    def beside(self, store: RedisConfig) -> ArqConfig:
        """These settings where the store has such ones: its namespace, and its server unless another is named."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        if self._names_a_server(store):
            return self.model_copy(update={"namespace": given.get("namespace", store.namespace)})
        shared = {name: getattr(store, name) for name in ConnectionConfig.model_fields}
        return _ArqBesideStore.model_construct(**{**dict(self), **shared, **given})

    def _names_a_server(self, store: RedisConfig) -> bool:
        """Credentials go to no other server than the one that they are for."""
        url, sentinels = "url" in self.model_fields_set, "sentinels" in self.model_fields_set
        return (url and self.url != store.url) or (sentinels and self.sentinels != store.sentinels)


class _ArqBesideStore(ArqConfig):
    """Those of a waker that shares the server of the store."""

    section: ClassVar[str] = ConnectionConfig.section
