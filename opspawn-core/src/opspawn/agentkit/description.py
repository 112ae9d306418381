"""What an agent is: its words as its author gave them, checked when they are written down."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from opspawn.agentkit import instructions as written
from opspawn.agentkit.choosing import ModelChoice, check_choice
from opspawn.agentkit.deciding import as_decider
from opspawn.agentkit.function_tool import as_tool
from opspawn.agentkit.guardrails import Guardrail, as_guardrail
from opspawn.agentkit.instructions import Fragment, Instructions
from opspawn.agentkit.output import MODES, Output
from opspawn.agentkit.reading import NAME
from opspawn.agentkit.recollection import Recollection, as_recollection
from opspawn.agentkit.sandbox.builtin import as_sandbox
from opspawn.agentkit.subagents import HANDOFF, MAX_DEPTH, AgentTool, SubAgent, is_agent
from opspawn.agentkit.toolsets import Toolset, is_source
from opspawn.agentkit.window import Window
from opspawn.contracts.budget import Budget
from opspawn.contracts.limit import Limit, checked_limits
from opspawn.contracts.planner import Planner
from opspawn.contracts.policy import Considered, Decider
from opspawn.contracts.sandbox import Sandbox
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Validator = Callable[..., Any]
DepsFactory = Callable[[], Any | Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Description:
    """See `Agent.__init__` for the fields; those after `memory` follow from them."""

    name: str
    model: ModelChoice = None
    planner: str | Planner = "react"
    planner_settings: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[Any] = ()
    handoffs: Sequence[SubAgent] = ()
    sandbox: str | Sandbox | None = None
    instructions: Instructions = ""
    description: str = ""
    output: Any = str
    output_mode: str = "auto"
    output_retries: int = 2
    output_validators: Sequence[Validator] = ()
    max_steps: int = 32
    settings: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None
    limits: Sequence[Limit] = ()
    deps_factory: DepsFactory | None = None
    policies: Sequence[str | Decider | Callable[[Considered], Any]] = ()
    window: Window | None = None
    budget: Budget | None = None
    guardrails: Sequence[Guardrail | Callable[..., Any]] = ()
    memory: bool | Recollection | None = None

    fixed: tuple[Tool | str, ...] = field(init=False)
    sources: tuple[ToolSource, ...] = field(init=False)
    place: Sandbox | None = field(init=False)
    fragments: tuple[Fragment, ...] = field(init=False)
    form: Output = field(init=False)
    depth: int = field(init=False)
    deciders: tuple[str | Decider, ...] = field(init=False)
    guards: tuple[Guardrail, ...] = field(init=False)
    recollection: Recollection | None = field(init=False)

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is not an agent's name: 1 to 64 of letters, digits, '_' and '-'.")
        self._check_numbers()
        check_choice(name, self.model)
        if not isinstance(self.planner, str) and not callable(getattr(self.planner, "run", None)):
            raise ConfigError(
                f"The agent {name!r} has planner={self.planner!r:.80}.",
                remedy='Name a planner plugin, e.g. "react", or give an object with a method run.',
            )
        for what in ("tools", "handoffs", "output_validators", "policies", "guardrails"):
            given = getattr(self, what)
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise ConfigError(f"The agent {name!r} has {what}={given!r}; a list is meant.")
        for one in self.output_validators:
            if not callable(one):
                raise ConfigError(f"The agent {name!r} has {one!r} among its output_validators; functions are meant.")
        if self.budget is not None and not isinstance(self.budget, Budget):
            raise ConfigError(f"The agent {name!r} has budget={self.budget!r}.", remedy="Write Budget(tokens=...).")
        if self.deps_factory is not None and not callable(self.deps_factory):
            raise ConfigError(f"The agent {name!r} has deps_factory={self.deps_factory!r}; a function is meant.")
        if not isinstance(self.settings, Mapping):
            raise ConfigError(f"The agent {name!r} has settings={self.settings!r}; a mapping is meant.")
        if not isinstance(self.planner_settings, Mapping):
            raise ConfigError(f"The agent {name!r} has planner_settings={self.planner_settings!r}; a mapping is meant.")
        if self.planner_settings and not isinstance(self.planner, str):
            raise ConfigError(
                f"The agent {name!r} has planner_settings, and a planner that is an object already.",
                remedy="Give the settings to the object, or name the planner.",
            )
        if self.window is not None and not isinstance(self.window, Window):
            raise ConfigError(f"The agent {name!r} has window={self.window!r}; Window(...) is meant.")
        tools, sources = _sorted(self.tools)
        self._set(
            fixed=tools,
            recollection=as_recollection(name, self.memory),
            sources=sources,
            place=as_sandbox(self.sandbox),
            fragments=written.fragments(name, self.instructions),
            form=self._form(),
            settings=MappingProxyType(dict(self.settings)),
            planner_settings=MappingProxyType(dict(self.planner_settings)),
            limits=checked_limits(f"The agent {name!r}", self.limits),
            guards=tuple(as_guardrail(one) for one in self.guardrails),
            deciders=tuple(one if isinstance(one, str) else as_decider(one) for one in self.policies),
        )
        self._check_names()
        self._set(depth=self._depth())

    def changed(self, changes: Mapping[str, Any]) -> Description:
        """The same with some fields changed; `settings` are merged, and so are those of the planner that stays. Raises:
        ConfigError.
        """
        if unknown := changes.keys() - FIELDS - {"name"}:
            raise ConfigError(
                f"The agent {self.name!r} has no {sorted(unknown)[0]!r} to change.",
                remedy=f"Known: {', '.join(sorted(FIELDS))}.",
            )
        if "settings" in changes:
            changes = {**changes, "settings": {**self.settings, **changes["settings"]}}
        if "planner" in changes:
            changes = {"planner_settings": {}, **changes}
        elif "planner_settings" in changes and isinstance(changes["planner_settings"], Mapping):
            changes = {**changes, "planner_settings": {**self.planner_settings, **changes["planner_settings"]}}
        return replace(self, **changes)

    @property
    def tool_names(self) -> tuple[str, ...]:
        return tuple(tool if isinstance(tool, str) else tool.name for tool in self.fixed)

    @property
    def subagents(self) -> tuple[SubAgent, ...]:
        """The agents that this one may ask, or hand over to."""
        return (*(tool.agent for tool in self.fixed if isinstance(tool, AgentTool)), *self.handoffs)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_numbers(self) -> None:
        for what, least in (("max_steps", 1), ("output_retries", 0), ("concurrency", 1)):
            value = getattr(self, what)
            if what == "concurrency" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(
                    f"The agent {self.name!r} has {what}={value!r}; a whole number from {least} is meant."
                )

    def _form(self) -> Output:
        if self.output_mode not in MODES:
            raise ConfigError(
                f"The agent {self.name!r} has output_mode={self.output_mode!r}.", remedy=f"Known: {', '.join(MODES)}."
            )
        try:
            return Output(self.output, self.output_mode, self.output_retries)
        except ConfigError as error:
            raise ConfigError(
                f"The agent {self.name!r} has as its output {error.message}.",
                remedy="Give a pydantic model, a dataclass, a TypedDict, a list of these, or several in a tuple.",
            ) from error

    def _check_names(self) -> None:
        for agent in self.handoffs:
            if not is_agent(agent):
                raise ConfigError(f"The agent {self.name!r} has {agent!r} among its handoffs; agents are meant.")
        answers = [spec.name for spec in self.form.by("tool").tools]
        names = [*self.tool_names, *(f"{HANDOFF}{agent.name}" for agent in self.handoffs), *answers]
        names += () if self.recollection is None else self.recollection.tools
        if NAME in names:
            raise ConfigError(
                f"The agent {self.name!r} has a tool named {NAME!r}, which reads on in long results.",
                remedy="Rename it: @tool(name=...).",
            )
        for one in names:
            if names.count(one) > 1:
                raise ConfigError(
                    f"The agent {self.name!r} has two tools named {one!r}.", remedy="Rename one: @tool(name=...)."
                )

    def _depth(self) -> int:
        depth = 1 + max((agent.depth for agent in self.subagents), default=0)
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"The agent {self.name!r} stands on agents {depth} deep.", remedy=f"{MAX_DEPTH} are the most."
            )
        return depth


def _sorted(given: Sequence[Any]) -> tuple[tuple[Tool | str, ...], tuple[ToolSource, ...]]:
    """Tools and names of tools; and what gives more of them with each model call."""
    tools: list[Tool | str] = []
    sources: list[ToolSource] = []
    for one in given:
        settled = one.settled if isinstance(one, Toolset) else None
        if settled is not None:
            tools += settled
        elif is_agent(one):
            tools.append(AgentTool(one))
        elif is_source(one):
            sources.append(one)
        else:
            tools.append(one if isinstance(one, str) else as_tool(one))
    return tuple(tools), tuple(sources)


#: What may be changed for one run.
FIELDS = frozenset(one.name for one in fields(Description) if one.init) - {"name"}
