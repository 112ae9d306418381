"""`Agent`: a name, a model, a planner, tools and instructions; and the ways to run it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.choosing import ModelChoice, chosen_model, is_named, model_words
from opspawn.agentkit.context import Context
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.log import OnEvent, RunEvent
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.agentkit.perloop import PerLoop
from opspawn.agentkit.placing import Placing, place
from opspawn.agentkit.reading import NAME
from opspawn.agentkit.sandbox.builtin import as_sandbox
from opspawn.agentkit.tool import as_tool
from opspawn.agentkit.toolsets import Toolset, is_source
from opspawn.contracts.limit import Limit, checked_limits
from opspawn.contracts.model import Usage
from opspawn.contracts.planner import Planner, PlannerResult
from opspawn.contracts.question import OnQuestion, OnWait
from opspawn.contracts.run import Handler, RunContext
from opspawn.contracts.sandbox import Sandbox
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run in memory ended: the planner's output and reason, and the tokens of all its model calls."""

    output: Any
    reason: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Parts:
    """An agent's words, resolved to objects."""

    model: BoundModel
    planner: Planner
    tools: tuple[Tool, ...]
    sources: tuple[ToolSource, ...]


class Agent:
    """An agent. Immutable, cheap to make; names are resolved to plugins when it first runs.

    Attributes:
        name: 1 to 64 of letters, digits, "_", "-".
        description: what it is for, in words for other people and programs.
        instructions: the model's system message.
        max_steps: how many model calls one run may make, at least 1.
        settings: passed to the model provider with every call, e.g. `{"temperature": 0}`.
        tools: tools as objects, those of plugins as their names.
        concurrency: how many of its tasks run at once, over all workers; None for as many as there are slots.
        limits: what else its tasks share places under.
    """

    def __init__(
        self,
        name: str,
        *,
        model: ModelChoice = None,
        planner: str | Planner = "react",
        tools: Sequence[Tool | ToolSource | Callable[..., Any] | str] = (),
        sandbox: str | Sandbox | None = None,
        instructions: str = "",
        description: str = "",
        max_steps: int = 32,
        settings: Mapping[str, Any] = MappingProxyType({}),
        concurrency: int | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        """Describe an agent.

        Args:
            model: "PROVIDER:MODEL", or an open provider, or a list of these of which the next is asked when one fails,
                or None for the configured model.
            planner: the name of a planner plugin, or a planner.
            tools: functions, tools, toolsets and other sources of tools, or names of tool plugins. A plain function
                counts as a tool with the effect "once".
            sandbox: where those tools run that are made from functions and say nothing themselves: "process", "thread",
                the name of a plugin, or `Sandbox(...)`.

        Raises:
            ConfigError: the name, a tool or a number does not fit; names the agent.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is not an agent's name: 1 to 64 of letters, digits, '_' and '-'.")
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ConfigError(f"The agent {name!r} has max_steps={max_steps!r}; a whole number from 1 is meant.")
        if isinstance(tools, str) or not isinstance(tools, Sequence):
            raise ConfigError(f"The agent {name!r} has tools={tools!r}; a list is meant.")
        self._name = name
        self._model = model
        self._planner = planner
        self._tools, self._sources = _sorted(tools)
        self._sandbox = as_sandbox(sandbox)
        self._instructions = instructions
        self._description = description
        self._max_steps = max_steps
        self._settings = MappingProxyType(dict(settings))
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise ConfigError(f"The agent {name!r} has concurrency={concurrency!r}; a whole number from 1 is meant.")
        self._concurrency = concurrency
        self._limits = checked_limits(f"The agent {name!r}", limits)
        self._kits = PerLoop(Kit.load)
        if NAME in self.tool_names:
            raise ConfigError(
                f"The agent {name!r} has a tool named {NAME!r}, which reads on in long results.",
                remedy="Rename it: @tool(name=...).",
            )
        for tool in self.tool_names:
            if self.tool_names.count(tool) > 1:
                raise ConfigError(
                    f"The agent {name!r} has two tools named {tool!r}.", remedy="Rename one: @tool(name=...)."
                )

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        return self._description

    @property
    def instructions(self) -> str:
        return self._instructions

    @property
    def max_steps(self) -> int:
        return self._max_steps

    @property
    def settings(self) -> Mapping[str, Any]:
        return self._settings

    @property
    def concurrency(self) -> int | None:
        return self._concurrency

    @property
    def limits(self) -> tuple[Limit, ...]:
        return self._limits

    @property
    def tools(self) -> tuple[Tool | str, ...]:
        return self._tools

    @property
    def sources(self) -> tuple[ToolSource, ...]:
        """What gives this agent more tools with each model call, as objects; those of plugins are among `tools`."""
        return self._sources

    @property
    def sandbox(self) -> Sandbox | None:
        """Where its tools made from functions run, unless they say so themselves."""
        return self._sandbox

    @property
    def model(self) -> str | None:
        """The model as "PROVIDER:MODEL", or None for the configured one; of an object its class, of a list all."""
        return model_words(self._model)

    @property
    def planner(self) -> str:
        """The planner's name; of an object its class."""
        return self._planner if isinstance(self._planner, str) else type(self._planner).__name__

    @property
    def tool_names(self) -> tuple[str, ...]:
        return tuple(tool if isinstance(tool, str) else tool.name for tool in self._tools)

    def __repr__(self) -> str:
        return f"Agent({self._name!r}, model={self.model!r}, planner={self.planner!r}, tools={list(self.tool_names)})"

    async def run(
        self,
        input: Any,
        *,
        deps: Any = None,
        kit: Kit | None = None,
        on_event: OnEvent | None = None,
        on_question: OnQuestion | None = None,
        on_wait: OnWait | None = None,
    ) -> RunResult:
        """Run in memory, with no server and no journal, and return how it ended.

        Args:
            input: any JSON; a text is the usual thing.
            deps: what tools find in `ToolContext.deps`.
            kit: where models, planners and tools named by text come from; by default `Kit.load()`, kept for later runs
                in the
                same event loop and closed when that loop ends.
            on_event: called with each event and each piece of a streamed answer, in order, from the event loop.
            on_question: answers a `Question` that the run asks; async or not. on_wait: gives the data of the next
                signal of a name.

        Raises:
            ConfigError: something that the agent names is not set or not installed. StepLimit: `max_steps` did not
                suffice.
            ModelError: the model refused or kept failing. And what the planner raises besides.
        """
        kit = kit or await self._own_kit()
        parts = self._resolve(kit)
        rates = kit.rates if kit is not None else None
        log = MemoryLog(on_event, on_question=on_question, on_wait=on_wait, rates=rates)
        context = self._context(Context(log, name=self._name, input=input, deps=deps), parts)
        result = await parts.planner.run(context)
        return RunResult(result.output, result.reason, context.usage)

    async def stream(
        self,
        input: Any,
        *,
        deps: Any = None,
        kit: Kit | None = None,
        on_question: OnQuestion | None = None,
        on_wait: OnWait | None = None,
    ) -> AsyncGenerator[RunEvent | RunResult, None]:
        """Run in memory and yield events and pieces of the answer as they come, the `RunResult` last.

        Closing the generator cancels the run. Raises: as `run`, after all that happened before was yielded.
        """
        queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        run = asyncio.create_task(
            self.run(input, deps=deps, kit=kit, on_event=queue.put_nowait, on_question=on_question, on_wait=on_wait)
        )
        run.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield run.result()
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    def handler(self, kit: Kit) -> Handler:
        """What the engine calls for each durable run of this agent.

        Names are resolved now, so that no run finds anything missing.

        Raises: ConfigError: something that the agent names is not set or not installed.
        """
        parts = self._resolve(kit)

        async def handle(context: RunContext) -> Any:
            result: PlannerResult = await parts.planner.run(self._context(cast(Context, context), parts))
            return result.output

        return handle

    def _context(self, base: Context, parts: _Parts) -> AgentRun:
        return AgentRun(
            base,
            name=self._name,
            instructions=self._instructions,
            model=parts.model,
            tools=parts.tools,
            max_steps=self._max_steps,
            sources=parts.sources,
        )

    def _resolve(self, kit: Kit | None) -> _Parts:
        """Objects for names; `kit` may be None only where `_needs_kit` says that nothing is a name."""
        bound = chosen_model(self._model, kit, agent=self._name, settings=self._settings)
        planner = cast(Kit, kit).planner(self._planner) if isinstance(self._planner, str) else self._planner
        found = [cast(Kit, kit).tool_or_source(tool) if isinstance(tool, str) else tool for tool in self._tools]
        tools = tuple(place(tool, self._sandbox, kit) for tool in found if not is_source(tool))
        sources = (*(one for one in found if is_source(one)), *self._sources)
        if sources and kit is not None:
            sources = tuple(Placing(source, self._sandbox, kit) for source in sources)
        return _Parts(bound, planner, tools, sources)

    def _needs_kit(self) -> bool:
        named = (self._planner, *self._tools)
        return (
            is_named(self._model)
            or self._sandbox is not None
            or any(isinstance(part, str) or getattr(part, "sandbox", None) is not None for part in named)
        )

    async def _own_kit(self) -> Kit | None:
        """One kit per event loop, since providers keep connections that belong to it."""
        return await self._kits.get() if self._needs_kit() else None


def _sorted(given: Sequence[Any]) -> tuple[tuple[Tool | str, ...], tuple[ToolSource, ...]]:
    """Tools and names of tools; and what gives more of them with each model call."""
    tools: list[Tool | str] = []
    sources: list[ToolSource] = []
    for one in given:
        settled = one.settled if isinstance(one, Toolset) else None
        if settled is not None:
            tools += settled
        elif is_source(one):
            sources.append(one)
        else:
            tools.append(one if isinstance(one, str) else as_tool(one))
    return tuple(tools), tuple(sources)
