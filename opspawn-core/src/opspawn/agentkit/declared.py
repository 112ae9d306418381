"""Agents without Python: tables `[agents.NAME]` of opspawn.toml, and files of YAML or JSON."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opspawn.agentkit.agent import Agent
from opspawn.agentkit.failures import FAULTS
from opspawn.agentkit.output import OutputMode
from opspawn.agentkit.recollection import TOOLS, MemoryToolName, Recollection
from opspawn.agentkit.window import Window
from opspawn.config.checks import Origin, build
from opspawn.contracts.budget import Budget, Cheaper
from opspawn.errors import ConfigError, OpspawnError

Name = Annotated[str, Field(min_length=1)]


class WindowTable(BaseModel):
    """The table `[agents.NAME.window]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    max_tokens: int | None = Field(None, ge=256, description="The most tokens; unset, what the model is known to read.")
    compact_at: float = Field(0.8, ge=0.1, le=1, description="The part of them from which on it is compacted.")
    keep_last: int = Field(4, ge=1, description="How many of the last turns stay as they are.")
    summarise: bool = Field(True, description="Whether the model writes notes of what is left out.")
    instructions: str = Field("", description="What the notes must hold, in your own words.")


class DeclaredBudget(BaseModel):
    """The table `budget` of an agent: what one of its runs may use; a limit that is left out is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    tokens: int | None = Field(None, ge=0, description="Tokens of all model calls, in and out.")
    usd: float | None = Field(None, ge=0, description="Their cost in US dollars.")
    requests: int | None = Field(None, ge=0, description="Model calls.")
    tool_calls: int | None = Field(None, ge=0, description="Calls of tools.")
    wall_s: float | None = Field(None, ge=0, description="Seconds from the first start of the run.")
    depth: int | None = Field(None, ge=0, description="Levels of child tasks below the run.")
    on_exceed: Literal["stop", "ask"] = Field("stop", description="End the run, or have a human asked for more.")
    cheaper: Name | None = Field(None, description='A model "PROVIDER:MODEL" that goes on instead.')
    approvers: list[Name] = Field([], description="Who should be asked.")

    def budget(self) -> Budget:
        """The budget. Raises: ConfigError."""
        fields = self.model_dump(exclude={"cheaper", "on_exceed"})
        return Budget(**fields, on_exceed=self.on_exceed if self.cheaper is None else Cheaper(self.cheaper))


class RecollectionTable(BaseModel):
    """The table `[agents.NAME.memory]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    namespace: list[Name] | None = Field(
        None, description='Whose memory a run has, e.g. ["user:{input.user}"]; unset, the agent\'s own.'
    )
    tools: list[MemoryToolName] = Field(list(TOOLS), description="Which tools the model is offered.")
    recall: int = Field(5, ge=0, le=50, description="How many items are shown to the model for a run's input.")
    max_tokens: int = Field(1000, ge=50, le=100_000, description="How many tokens these may have together.")
    min_score: float = Field(0.2, ge=0, le=1, description="How near they must be.")
    recency: float = Field(0.1, ge=0, le=1, description="How much age weighs.")
    confidence: float = Field(0.5, ge=0, le=1, description="How much doubt weighs.")
    extract: bool = Field(False, description="Whether facts in what the user said are kept after a run.")
    ttl_s: float | None = Field(None, gt=0, description="Seconds after which what is kept expires, unless it is used.")


class DeclaredAgent(BaseModel):
    """An agent as configuration declares it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: Name | list[Name] | None = Field(
        None, description='"PROVIDER:MODEL", or several that are asked in turn; unset, the configured model.'
    )
    planner: Name = Field("react", description="The name of a planner plugin.")
    planner_settings: dict[str, Any] = Field(
        default_factory=dict, description="What counts for this agent before the planner's own section."
    )
    tools: list[Name] = Field(
        [],
        description='Names of tool plugins or parts of them (e.g. "mcp:github/*"), or "module:function", looked for in '
        "the folder of the file first.",
    )
    agents: list[Name] = Field([], description="Names of agents that it may ask, as tools.")
    handoffs: list[Name] = Field([], description="Names of agents that it may hand the conversation over to.")
    instructions: str = Field("", description="The model's system message.")
    instructions_file: Name | None = Field(
        None, description="A text file with the instructions, instead; relative to the folder of this file."
    )
    description: str = Field("", description="What it is for, in words for people and other agents.")
    output: dict[str, Any] | None = Field(
        None, description="What it answers with, as JSON Schema (the part that workflow inputs use); unset, text."
    )
    output_mode: OutputMode = Field("auto", description="How the model is told of the schema.")
    output_retries: int = Field(2, ge=0, description="How often in a run an answer that does not fit may be mended.")
    max_steps: int = Field(32, ge=1, description="How many model calls one run may make.")
    settings: dict[str, Any] = Field({}, description="Passed to the model with every call, e.g. temperature.")
    concurrency: int | None = Field(None, ge=1, description="How many of its tasks run at once, over all workers.")
    budget: DeclaredBudget | None = Field(None, description="What one run may use, its sub-agents included.")
    sandbox: Name | None = Field(None, description="Where its tools made from functions run.")
    memory: bool | RecollectionTable = Field(False, description="What it keeps between runs.")
    window: WindowTable | None = Field(None, description="How much of the conversation the model is shown.")


@dataclass(frozen=True)
class Declaration:
    """One agent as it was found: its keys unchecked, and where they came from.

    `prefix` is the dotted key of its table, with its dot; `folder` is where its relative paths start; `where` names the
    file in messages.
    """

    values: Mapping[str, Any]
    where: str
    folder: Path
    prefix: str = ""
    origin: Origin | None = None


def declared_agents(found: Mapping[str, Declaration], known: Mapping[str, Agent]) -> dict[str, Agent]:
    """Make the agents, those that others stand on first; `known` are agents that they may name besides.

    Raises: ConfigError: one line that names the file and the key.
    """
    made: dict[str, Agent] = dict(known)
    checked = {name: _checked(one) for name, one in found.items()}

    def make(name: str, above: tuple[str, ...]) -> Agent:
        if name in made:
            return made[name]
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise _fault(found[name], "agents", f"stands on itself: {circle}")
        one, place = checked[name], found[name]

        def others(key: str) -> list[Agent]:
            agents = []
            for other in getattr(one, key):
                if other not in found and other not in known:
                    raise _fault(place, key, f"names the agent {other!r}, which there is not")
                agents.append(make(other, (*above, name)))
            return agents

        try:
            made[name] = Agent(
                name,
                tools=[*(_tool(tool, place) for tool in one.tools), *others("agents")],
                handoffs=others("handoffs"),
                instructions=_instructions(one, place),
                memory=_recollection(one.memory),
                window=None if one.window is None else Window(**one.window.model_dump()),
                output=str if one.output is None else one.output,  # type: ignore[arg-type]  # schemas are read, too
                budget=None if one.budget is None else one.budget.budget(),
                **one.model_dump(exclude=_BY_HAND),
            )
        except ConfigError as error:
            if error.message.startswith(f"{place.where}: "):
                raise
            raise ConfigError(f"{place.where}: {error.message}", remedy=error.remedy) from error
        return made[name]

    return {name: make(name, ()) for name in found}


_BY_HAND = {"window", "memory", "budget", "tools", "agents", "handoffs", "instructions", "instructions_file", "output"}


def _recollection(said: bool | RecollectionTable) -> bool | Recollection:
    if isinstance(said, bool):
        return said
    told = said.model_dump()
    return Recollection(**{**told, "namespace": None if said.namespace is None else tuple(said.namespace)})


def _checked(one: Declaration) -> DeclaredAgent:
    origin = one.origin or (lambda key: one.where)
    checked = build(DeclaredAgent, one.values, prefix=one.prefix, origin=origin)
    if checked.instructions and checked.instructions_file:
        raise _fault(one, "instructions_file", "stands beside instructions", "Keep one of them.")
    return checked


def _instructions(one: DeclaredAgent, place: Declaration) -> str:
    if one.instructions_file is None:
        return one.instructions
    try:
        return (place.folder / one.instructions_file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _fault(
            place, "instructions_file", f"names {one.instructions_file!r}, which cannot be read: {reason}"
        ) from error


def _tool(name: str, place: Declaration) -> str | Callable[..., Any]:
    """The name of a plugin, or "PLUGIN:PART", as it is; of "module:function" the function."""
    module, colon, attribute = name.partition(":")
    if not colon or not all(part.isidentifier() for part in attribute.split(".")):
        return name
    if str(place.folder) not in sys.path:
        sys.path.insert(0, str(place.folder))
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise _fault(place, "tools", f"names {name!r}, and there is no module {error.name!r}") from error
    except AttributeError as error:
        raise _fault(place, "tools", f"names {name!r}, and {module!r} has no {attribute!r}") from error
    except OpspawnError:
        raise
    except FAULTS as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise _fault(place, "tools", f"names {name!r}, which cannot be imported: {words}") from error
    if not callable(found) and not hasattr(found, "call"):
        raise _fault(place, "tools", f"names {name!r}, which is neither a function nor a tool")
    return found  # type: ignore[no-any-return]


def _fault(place: Declaration, key: str, words: str, remedy: str | None = None) -> ConfigError:
    return ConfigError(f"{place.where}: {place.prefix}{key} {words}.", remedy=remedy)
