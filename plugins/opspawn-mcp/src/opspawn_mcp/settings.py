"""The section `[plugins.mcp]`: the servers, and what each may do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from opspawn.agentkit.matching import glob
from opspawn.contracts.plugins import PluginConfig
from opspawn.contracts.policy import Decision
from opspawn.contracts.tool import Effect
from opspawn_mcp.audit.settings import AuditConfig
from opspawn_mcp.serving.settings import ServeConfig
from opspawn_mcp.signing.settings import AuthConfig, TokensConfig

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,30}[A-Za-z0-9]|[A-Za-z0-9]")
Mode = Literal["auto", "legacy", "modern"]


class RuleConfig(BaseModel):
    """What is decided about some calls of a server's tools."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    decision: Decision = Field(description="allow, ask or deny.")
    tool: str = Field(
        "*",
        min_length=1,
        description="Which tools of the server, as a glob; resources/read and prompts/get stand for these.",
    )
    agent: str = Field("*", min_length=1, description="Which agents, as a glob.")
    arguments: dict[str, Any] = Field({}, description="Patterns by dotted path, as in [[policy.rules]].")
    reason: str = Field("", description="Why, in words.")
    approvers: list[str] = Field([], description="Who should decide, for ask.")
    expires_s: float | None = Field(None, gt=0, description="Seconds until a question counts as denied.")


class ContextConfig(BaseModel):
    """What agents that use the server are shown of it when a run begins: a resource, or a prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    resource: str | None = Field(None, min_length=1, description="The URI of the resource that is read.")
    prompt: str | None = Field(None, min_length=1, description="The prompt that is got, by its name.")
    arguments: dict[str, str] = Field({}, description="The arguments of the prompt.")
    agents: list[str] = Field(["*"], description="Which agents are shown it, as globs, of those that use the server.")
    max_bytes: int = Field(16_384, ge=256, le=256 * 1024, description="How much of it is shown, in bytes.")
    required: bool = Field(
        False, description="Whether a run fails when it cannot be read; else the model is told that it is missing."
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> ContextConfig:
        if (self.resource is None) == (self.prompt is None):
            raise ValueError("needs either resource or prompt")
        if self.arguments and self.prompt is None:
            raise ValueError("has arguments, which only a prompt takes")
        return self


class SamplingConfig(BaseModel):
    """What a server may have models asked in the middle of a call: by the run that calls it, and at its expense."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: str = Field(pattern=r"^[^:]+:.+", description='The model that is asked, as "PROVIDER:MODEL".')
    policy: Literal["ask", "allow"] = Field(
        "ask", description="ask: a human sees each request and decides; allow: it is put to the model at once."
    )
    approvers: list[str] = Field([], description="Who should decide.")
    expires_s: float | None = Field(None, gt=0, description="Seconds until a question counts as denied.")
    calls_per_run: int = Field(10, ge=1, description="How many calls of models it may cause in one run.")
    tokens_per_run: int = Field(20_000, ge=1, description="How many tokens these may use together, input included.")
    max_tokens: int = Field(1024, ge=1, description="How long an answer may be, in tokens, whatever the server wants.")
    max_bytes: int = Field(
        65_536, ge=256, le=8 << 20, description="How long the texts of one request may be, in bytes."
    )
    settings: dict[str, Any] = Field({}, description="Settings of the model, over what the server wants.")


class ServerConfig(BaseModel):
    """An MCP server: either a command that is started, or a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    command: str | None = Field(None, min_length=1, description="The program of a local server, spoken to over stdio.")
    args: list[str] = Field([], description="Its arguments.")
    env: dict[str, SecretStr] = Field(
        {}, description="Its environment, beside HOME, LOGNAME, PATH, SHELL, TERM and USER, which it gets anyway."
    )
    cwd: str | None = Field(None, min_length=1, description="Its folder; relative to that of opspawn.toml.")
    url: str | None = Field(None, pattern=r"^https?://", description="The address of a remote server.")
    headers: dict[str, SecretStr] = Field({}, description="HTTP headers that are sent with every request.")
    auth: AuthConfig | None = Field(None, description="OAuth, for a server that asks for it.")
    allow_private: bool = Field(
        False, description="Whether the URL may lie in a private network or on this machine, and be plain http."
    )
    roots: list[str] = Field(
        [], description="Folders that it is told to keep to, if it asks; relative to that of opspawn.toml."
    )
    ask_people: bool = Field(
        False,
        description="Whether it may ask people (elicitation), by a question of the run that calls it; its calls are "
        "then made one after another.",
    )
    sampling: SamplingConfig | None = Field(
        None,
        description="Whether it may have models asked, and how much; its calls are then made one after another. "
        "Off unless it is given.",
    )
    enabled: bool = Field(True, description="Whether it is used at all.")
    mode: Mode = Field(
        "auto",
        description="The era of its protocol: legacy (initialize), modern (2026-07-28), or auto: ask, then fall back.",
    )
    agents: list[str] = Field(["*"], description="Which agents may use it, as globs.")
    allow: list[str] = Field([], description="Which tools may be used, as globs; none given, all that are not denied.")
    ask: list[str] = Field([], description="Which tools need a human's word for each call, as globs.")
    deny: list[str] = Field([], description="Which tools are never used nor shown, as globs.")
    resources: list[str] = Field(
        [], description="Which of its resources may be read, by URI, as globs; none unless it says so."
    )
    prompts: list[str] = Field(
        [], description="Which of its prompts may be got, by name, as globs; none unless it says so."
    )
    context: list[ContextConfig] = Field(
        [], description="What its agents are shown when a run begins: [[plugins.mcp.servers.NAME.context]]."
    )
    rules: list[RuleConfig] = Field([], description="Finer rules, read from the top: the first that fits decides.")
    effects: dict[str, Effect] = Field(
        {}, description='What its tools do to the world, by glob, e.g. {"read_*" = "read"}; the first that fits counts.'
    )
    trust_hints: bool = Field(
        False, description="Whether the server's own hints (read-only, idempotent) count where `effects` says nothing."
    )
    pin: Literal["required", "off"] = Field(
        "required", description="Whether a tool is used only as it was approved; off is for servers of your own."
    )
    timeout_s: float = Field(60.0, gt=0, le=86_400, description="Seconds for one call.")
    tasks: bool = Field(True, description="Whether it may answer a call with a task (Tasks extension).")
    task_timeout_s: float = Field(86_400.0, gt=0, le=31_536_000, description="Seconds for a call that became a task.")
    connect_timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds for connecting, its first list included.")
    calls_per_minute: int | None = Field(None, ge=1, description="How many calls a process may make in a minute.")
    concurrency: int | None = Field(None, ge=1, description="How many calls a process has in flight at once.")
    max_result_bytes: int = Field(
        1 << 20, ge=1024, le=64 << 20, description="How much of a result is kept, in bytes; the rest is cut off."
    )
    max_message_bytes: int = Field(
        8 << 20, ge=4096, le=512 << 20, description="A longer message ends the connection, in bytes."
    )
    max_tools: int = Field(1000, ge=1, le=100_000, description="A server that lists more tools is refused.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> ServerConfig:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs a command or a url" if self.url is None else "has both a command and a url")
        if self.url is not None and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd belong to a command, and this server has a url")
        if self.command is not None and self.headers:
            raise ValueError("headers belong to a url, and this server has a command")
        if self.command is not None and self.auth is not None:
            raise ValueError("auth belongs to a url, and this server has a command")
        if self.auth is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("takes either auth or a header Authorization")
        if self.url is not None and self.url.startswith("http://") and not self.allow_private:
            raise ValueError("url is plain http, which needs allow_private = true; remote servers need https")
        return self


class McpConfig(PluginConfig):
    """The section `[plugins.mcp]`."""

    servers: dict[str, ServerConfig] = Field({}, description="The servers, by name: [plugins.mcp.servers.NAME].")
    pins: Path = Field(
        Path("mcp-pins.json"),
        description="The file with the approved definitions of tools, to be kept with the code; "
        "relative to the folder of opspawn.toml.",
    )
    tokens: TokensConfig = Field(TokensConfig(), description="Where the tokens of people who signed in are kept.")
    audit: AuditConfig = Field(AuditConfig(), description="What is recorded of calls and decisions.")
    serve: ServeConfig = Field(ServeConfig(), description="What MCP clients are offered, where, and to whom.")
    root: Path | None = Field(None, description="The folder that relative paths start at; that of opspawn.toml.")

    @field_validator("servers")
    @classmethod
    def _has_names(cls, servers: dict[str, ServerConfig]) -> dict[str, ServerConfig]:
        for name in servers:
            if not _NAME.fullmatch(name):
                raise ValueError(f'"{name}" must be 1 to 32 letters, digits, "-" and single "_"')
        return servers

    @model_validator(mode="after")
    def _exports_what_is_there(self) -> McpConfig:
        for one in self.serve.export:
            if not any(glob(one.partition("/")[0], name) for name in self.servers):
                known = ", ".join(self.servers) or "none"
                raise ValueError(f'serve.export: "{one}" names no server that is configured; there are: {known}')
        return self

    def path_of_pins(self) -> Path:
        """Where the pins are."""
        return (self.root or Path.cwd()) / self.pins
