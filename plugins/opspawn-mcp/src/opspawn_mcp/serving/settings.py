"""The section `[plugins.mcp.serve]`: what is offered to MCP clients, where, and to whom."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

Scope = Literal["call", "read", "answer"]
_SHORTEST = 16
_PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+")
SCOPES: tuple[Scope, ...] = ("call", "read", "answer")


class KeyConfig(BaseModel):
    """A key that a client shows as `Authorization: Bearer ...`, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    token: SecretStr = Field(description="The secret, e.g. ${EDITOR_KEY}; at least 16 characters.")
    scopes: list[Scope] = Field(
        default=list(SCOPES),
        description="call: tools; read: journals and results as resources; answer: be asked questions and approvals.",
    )
    tools: list[str] = Field(default=["*"], description="Which of the offered tools, as globs.")

    @field_validator("token")
    @classmethod
    def _is_long(cls, token: SecretStr) -> SecretStr:
        if len(token.get_secret_value()) < _SHORTEST:
            raise ValueError(f"has fewer than {_SHORTEST} characters; make one with: openssl rand -hex 24")
        return token


class ServeConfig(BaseModel):
    """What an MCP client is offered; with `transports = ["mcp"]`, and with `opspawn mcp serve`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    host: str | None = Field(
        default=None, min_length=1, description="Address to listen on, instead of being served by REST; 127.0.0.1."
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port to listen on, instead of being served by REST; 0 takes a free one. With neither host nor "
        "port it is REST's server where that is open, too, and else 8001.",
    )
    path: str = Field(default="/mcp", description="The path of the endpoint, at its own address or beside REST's.")
    allow_public: bool = Field(
        default=False,
        description="Be reached at other addresses than loopback without keys: for a proxy that checks who calls.",
    )
    allowed_hosts: list[str] = Field(
        default=[],
        description='Names by which clients may call, as in the header Host, e.g. "mcp.example.com"; "NAME:*" takes '
        "any port. Those of this machine always do.",
    )
    allowed_origins: list[str] = Field(
        default=[], description='Web pages that may call, as in the header Origin, e.g. "https://app.example.com".'
    )
    max_body_bytes: int = Field(default=1 << 20, ge=1024, le=64 << 20, description="Largest request, in bytes.")
    agents: list[str] = Field(
        default=["*"], description="Which agents are offered, as globs: each as the tool ask_NAME."
    )
    workflows: list[str] = Field(
        default=["*"], description="Which workflows of the app, as globs: each as the tool run_NAME."
    )
    tools: list[str] = Field(default=[], description="Which tools of the app and its agents, by name.")
    export: list[str] = Field(
        default=[],
        description='Which tools of the MCP servers, as SERVER/TOOL, both globs, e.g. "github/*"; under their rules.',
    )
    answer_within_s: float = Field(
        default=50.0,
        gt=0,
        le=86_400,
        description="Seconds after which a call that goes on is answered with its task, to be asked for later. Many "
        "clients give up after 60.",
    )
    keys: dict[str, KeyConfig] = Field(
        default={},
        description="The clients that may call, by name: [plugins.mcp.serve.keys.NAME]. Without any, everybody may.",
    )

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        if not path.startswith("/"):
            raise ValueError(f'"{path}" does not begin with a slash; write "/{path}"')
        if not _PATH.fullmatch(path):
            raise ValueError(f'"{path}" is no path; take letters, digits, and . _ ~ -, such as "/mcp"')
        return path

    @field_validator("export")
    @classmethod
    def _names_tools(cls, export: list[str]) -> list[str]:
        for one in export:
            server, mark, tool = one.partition("/")
            if not (server and mark and tool):
                raise ValueError(f'"{one}" names no tools; write SERVER/TOOL, e.g. "github/*"')
        return export
