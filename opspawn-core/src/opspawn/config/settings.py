"""Every setting of the core, with its type, range, default and meaning. The reference is generated from this file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from opspawn.config.durations import PATTERN
from opspawn.contracts.ids import ID_PATTERN

Decision = Literal["allow", "ask", "deny"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
Name = Annotated[str, Field(min_length=1)]
QueueName = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class WorkerSettings(_Table):
    """The table `[worker]`: how a process runs tasks."""

    slots: int = Field(default=128, ge=1, le=10_000, description="How many tasks one worker runs at once.")
    lease_s: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="Seconds that a claimed task stays with its worker without a sign of life; "
        "after that another worker goes on with it.",
    )
    drain_s: float = Field(
        default=25.0,
        ge=0,
        le=3600,
        description="Seconds that a stopping worker lets its tasks finish before it gives them back.",
    )
    blocked_s: float = Field(
        default=5.0,
        ge=0.1,
        le=3600,
        description="Seconds that code may block the worker's event loop before that is reported, with its stack.",
    )
    queues: list[QueueName] = Field(default=["default"], min_length=1, description="The queues that the worker serves.")
    poll_s: float = Field(
        default=1.0,
        ge=0.01,
        le=60,
        description="Seconds between two looks at the store when nothing rings; "
        "also how soon a cancel reaches a running task.",
    )


class LogSettings(_Table):
    """The table `[logs]`: what the process tells on stderr."""

    level: LogLevel = Field(default="info", description="The least level that is written.")
    format: LogFormat = Field(
        default="auto",
        description='"json" is one object a line, "text" is for people; "auto" is text on a terminal, else json.',
    )


class LimitSettings(_Table):
    """A table `[limits.NAME]`: how often something may be asked, by all workers of the store together. NAME is what
    `ctx.take` names, or a model "PROVIDER:MODEL", or a PROVIDER for all of its models.
    """

    requests_per_minute: float | None = Field(default=None, gt=0, le=1e9, description="How many requests a minute.")
    tokens_per_minute: float | None = Field(
        default=None, gt=0, le=1e12, description="How many tokens a minute, those that go in and those that come out."
    )
    burst: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="How many requests may come at once after a rest, and tokens in proportion; "
        "unset, what ten seconds bring.",
    )

    @field_validator("burst")
    @classmethod
    def _is_of_requests(cls, burst: int | None, others: ValidationInfo) -> int | None:
        if burst is not None and others.data.get("requests_per_minute", 0) is None:
            raise ValueError("it counts requests, and there is no requests_per_minute beside it")
        return burst


class PolicyRule(_Table):
    """A table `[[policy.rules]]`: what is decided about certain calls. All that is given must fit; texts are globs."""

    decision: Decision = Field(description='"allow", "ask" a human, or "deny".')
    tool: Name | None = Field(default=None, description="Which tools; none of tool, model and dispatch is all tools.")
    model: Name | None = Field(default=None, description='Which models, as "PROVIDER:MODEL".')
    dispatch: Name | None = Field(default=None, description='Work for others, by handler, e.g. "agent/*".')
    agent: Name = Field(default="*", description="Which agents, workflows or functions.")
    effect: Literal["read", "idempotent", "once"] | None = Field(
        default=None, description="Only tools with this effect."
    )
    arguments: dict[Name, Any] = Field(
        default={},
        description="Patterns by dotted path: a glob, a value, a list of these, or a table of glob, regex, min, max, "
        "above, below, not.",
    )
    reason: str = Field(default="", description="Why, in words, for the model or whoever is asked.")
    approvers: list[Name] = Field(default=[], description="Who should decide, as roles or people.")
    expires_s: float | None = Field(
        default=None, gt=0, description="Seconds until a question to them counts as denied; unset is never."
    )


class PolicySettings(_Table):
    """The table `[policy]`: what runs may do. The first rule that fits decides, else the effect of the tool."""

    rules: list[PolicyRule] = Field(default=[], description="The rules, tables [[policy.rules]], from the top.")
    read: Decision = Field(default="allow", description='Tools with the effect "read" that no rule fits.')
    idempotent: Decision = Field(default="allow", description='Tools with the effect "idempotent" that no rule fits.')
    once: Decision = Field(default="allow", description='Tools with the effect "once" that no rule fits.')
    use: list[Name] = Field(default=[], description="Policy plugins that decide, too; the strictest counts.")


class AgentSettings(_Table):
    """The table `[agents]`: how remote agents are heard and reached."""

    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Signs what is sent to remote agents, and is asked of what agentkit notifies. Unset, notifications "
        "are refused and tasks go out unsigned.",
    )
    allow_private: bool = Field(
        default=False,
        description="Whether contact endpoints may lie in private networks or on this machine.",
    )
    send_timeout_s: float = Field(
        default=15.0, gt=0, le=300, description="Seconds within which a remote agent must take a task."
    )
    answer_timeout_s: float = Field(
        default=3600.0,
        gt=0,
        le=366 * 86400,
        description="Seconds within which a remote agent must report, if the task has no limit of its own.",
    )


Span = Annotated[str, Field(pattern=PATTERN)]


class RetentionSettings(_Table):
    """The table `[retention]`: what is deleted, by workers and by `opspawn store prune`. Unset, everything is kept."""

    ended_after: Span | None = Field(
        default=None,
        description='How long a tree of tasks is kept after it has ended, e.g. "30d" or "12h". It goes whole, with its '
        "journals, questions and idempotency keys.",
    )
    failed_after: Span | None = Field(
        default=None, description="The same for trees whose root has failed; by default as `ended_after`."
    )
    keep_at_most: int | None = Field(
        default=None, ge=0, description="How many trees that have ended are kept at most, the newest."
    )


class ScheduleSettings(_Table):
    """A table `[schedules.NAME]`: what is submitted when its time comes; one of cron, every and at."""

    run: Name = Field(description='The handler, e.g. "agent/helper" or "workflow/report".')
    input: Any = Field(default=None, description="What it gets; what the handler takes.")
    cron: Name | None = Field(
        default=None,
        description='"MINUTE HOUR DAY MONTH WEEKDAY", e.g. "0 3 * * MON-FRI"; a sixth field before them is seconds.',
    )
    every: Span | None = Field(default=None, description='A span between two times, e.g. "10m".')
    at: AwareDatetime | None = Field(default=None, description="One time, with its offset.")
    zone: Name = Field(default="UTC", description='The time zone of cron, e.g. "Europe/Berlin".')
    overlap: Literal["skip", "queue", "allow"] = Field(
        default="skip",
        description='When the task before has not ended: "skip" this time, "queue" behind it, or "allow" both.',
    )
    catch_up: Literal["skip", "once", "all"] = Field(
        default="once",
        description='Of the times that passed while no worker was there: "skip" all that are older than a minute, make '
        'up for the newest "once", or for "all".',
    )
    at_most: int = Field(
        default=100, ge=1, le=1000, description='How many catch_up = "all" makes up for at once, the newest.'
    )
    enabled: bool = Field(default=True, description="Whether it begins active.")
    queue: QueueName = Field(default="default", description="Which workers let it fire and take its tasks.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="A head start of 60 seconds per unit.")
    labels: dict[Name, str] = Field(default={}, description='Marks of its tasks, beside "schedule".')


class PluginSettings(_Table):
    """The keys of the table `[plugins]` that are not the section of a plugin, `[plugins.NAME]`."""

    allow: list[Name] | None = Field(
        default=None,
        description="The only plugins that may be imported, by distribution (safest) or by name; unset allows all "
        "that are installed, an empty list only the built-ins. OPSPAWN_PLUGINS=a,b sets it, OPSPAWN_PLUGINS=none "
        "empties it.",
    )
    block: list[Name] = Field(
        default=[],
        description="Plugins that are never imported, by distribution or by name; wins over allow, and stops "
        "built-ins too. OPSPAWN_PLUGINS=-name adds to it.",
    )


class Settings(_Table):
    """The top level of `opspawn.toml`. Each key is a variable too: OPSPAWN_STORE, OPSPAWN_WORKER__SLOTS."""

    app: Name | None = Field(
        default=None,
        description='The app that commands use when none is given: "module:attribute" or "file.py", '
        "looked for in the folder of opspawn.toml.",
    )
    model: Name | None = Field(
        default=None, description='The model of agents that name none, as "PROVIDER:MODEL", e.g. "openai:gpt-5".'
    )
    network_models: bool = Field(
        default=True,
        description="Whether models behind a network may be asked; false in tests, which then use recorded or "
        "scripted ones.",
    )
    store: Name = Field(
        default="sqlite", description="The store that keeps tasks and journals; a plugin may bring others."
    )
    waker: Name = Field(
        default="local", description="What tells workers that there is work; a plugin may bring others."
    )
    transports: list[Name] = Field(default=["rest"], description='The ways in that "opspawn serve" opens.')
    data: Name = Field(
        default=".opspawn",
        description="The folder for local files. A relative path in opspawn.toml starts at the folder of that file, "
        "one from the environment or the command line at the current folder.",
    )
    memory: Name = Field(
        default="sqlite", description="The long-term memory of agents that have one; a plugin may bring others."
    )
    embedder: Name | None = Field(
        default=None,
        description='What makes vectors for the memory, as "NAME:MODEL", e.g. "openai:text-embedding-3-small"; unset, '
        "memories are found by their words.",
    )
    worker: WorkerSettings = Field(default=WorkerSettings(), description="How a process runs tasks.")
    logs: LogSettings = Field(default=LogSettings(), description="What the process tells on stderr.")
    listeners: list[Name] = Field(
        default=[], description="The listeners of plugins that hear of everything that happens."
    )
    retention: RetentionSettings = Field(
        default=RetentionSettings(), description="What is deleted, and when; unset, nothing."
    )
    agents: AgentSettings = Field(default=AgentSettings(), description="How remote agents are heard and reached.")
    limits: dict[Name, LimitSettings] = Field(
        default={}, description="Rates by name, each a table [limits.NAME]; quote a NAME with colons or dots."
    )
    schedules: dict[Name, ScheduleSettings] = Field(
        default={}, description="What is submitted when its time comes, each a table [schedules.NAME]."
    )
    policy: PolicySettings = Field(default=PolicySettings(), description="What runs may do.")
    plugins: PluginSettings = Field(
        default=PluginSettings(),
        description="Which plugins may be imported; [plugins.NAME] is the section of a plugin.",
    )

    @property
    def plugins_allow(self) -> list[str] | None:
        """Short for `plugins.allow`."""
        return self.plugins.allow

    @property
    def plugins_block(self) -> list[str]:
        """Short for `plugins.block`."""
        return self.plugins.block
