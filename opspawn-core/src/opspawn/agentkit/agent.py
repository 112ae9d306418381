"""`Agent`: a name, a model, a planner, tools and instructions; and the ways to run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from opspawn import details  # noqa: F401  here, so that whoever asks for these lines later is not overruled
from opspawn.agentkit import instructions as written
from opspawn.agentkit.choosing import ModelChoice, model_words
from opspawn.agentkit.context import Context
from opspawn.agentkit.conversation import Conversation
from opspawn.agentkit.deps import Deps
from opspawn.agentkit.description import Description, Validator
from opspawn.agentkit.guardrails import Guardrail
from opspawn.agentkit.instructions import Instructions
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.nesting import Nesting, OnEvent
from opspawn.agentkit.output import OutputMode
from opspawn.agentkit.overriding import overridden
from opspawn.agentkit.perloop import PerLoop
from opspawn.agentkit.recollection import Recollection
from opspawn.agentkit.resolving import needs_kit, resolve
from opspawn.agentkit.running import check_history, check_input, run_agent
from opspawn.agentkit.subagents import AgentTool, SubAgent
from opspawn.agentkit.window import Window
from opspawn.contracts.budget import Budget
from opspawn.contracts.limit import Limit
from opspawn.contracts.model import Message, Usage
from opspawn.contracts.planner import Planner
from opspawn.contracts.policy import Considered, Decider, OnApproval
from opspawn.contracts.question import OnQuestion, OnWait
from opspawn.contracts.run import Handler, RunContext
from opspawn.contracts.sandbox import Sandbox
from opspawn.contracts.tool import Tool, ToolSource
from opspawn.errors import InvalidInput

if TYPE_CHECKING:
    from opspawn.contracts.run_events import RunEvent

DepsT = TypeVar("DepsT", default=Any)
OutputT = TypeVar("OutputT", default=str)
#: What was said in a session before a run: `earlier(context, agent)`.
Earlier = Callable[[Context, str], Awaitable[Sequence[Message]]]


@dataclass(frozen=True, slots=True)
class RunResult(Generic[OutputT]):
    """How a run in memory ended.

    Attributes:
        output: the answer, of the agent's output type.
        reason: why it ended: "answered", or the planner's own word for another end.
        usage: the tokens of all model calls, those of nested runs included.
        messages: the whole conversation, without the system message: give it to the next run as its `history`.
        new_messages: what this run added to it, its input first.
        agent: who answered: another one after a handoff.
    """

    output: OutputT
    reason: str
    usage: Usage
    messages: tuple[Message, ...] = field(default=(), compare=False, repr=False)
    new_messages: tuple[Message, ...] = field(default=(), compare=False, repr=False)
    agent: str = field(default="", compare=False)


class Agent(Generic[DepsT, OutputT]):
    """An agent. Immutable, cheap to make; names are resolved to plugins when it first runs."""

    def __init__(
        self,
        name: str,
        *,
        model: ModelChoice = None,
        planner: str | Planner = "react",
        planner_settings: Mapping[str, Any] = MappingProxyType({}),
        tools: Sequence[Tool | ToolSource | SubAgent | Callable[..., Any] | str] = (),
        handoffs: Sequence[SubAgent] = (),
        sandbox: str | Sandbox | None = None,
        instructions: Instructions = "",
        description: str = "",
        output: type[OutputT] | Sequence[type[OutputT]] = str,  # type: ignore[assignment]  # the default of OutputT
        output_mode: OutputMode = "auto",
        output_retries: int = 2,
        output_validators: Sequence[Validator] = (),
        max_steps: int = 32,
        settings: Mapping[str, Any] = MappingProxyType({}),
        concurrency: int | None = None,
        limits: Sequence[Limit] = (),
        deps_factory: Callable[[], DepsT | Awaitable[DepsT]] | None = None,
        policies: Sequence[str | Decider | Callable[[Considered], Any]] = (),
        window: Window | None = None,
        budget: Budget | None = None,
        guardrails: Sequence[Guardrail | Callable[..., Any]] = (),
        memory: bool | Recollection | None = None,
    ) -> None:
        """Describe an agent.

        Args:
            name: 1 to 64 of letters, digits, "_", "-".
            model: "PROVIDER:MODEL", or an open provider, or a list of these of which the next is asked when one fails,
                or None for the configured model.
            planner: the name of a planner plugin, or a planner.
            planner_settings: what counts for this agent before the planner's section `[plugins.NAME]`, checked by its
                model; only with a planner that is named.
            tools: functions, tools, toolsets and other sources of tools, other agents, or names of tool plugins. A
                plain function counts as a tool with the effect "once".
            handoffs: agents that may be handed the conversation.
            sandbox: where those tools run that are made from functions and say nothing themselves: "process", "thread",
                the name of a plugin, or `Sandbox(...)`.
            instructions: the model's system message: a text, in which `{deps.NAME}` stands for what the run was given,
                or a function of the run's context, or several of these, joined.
            description: what it is for, in words for other people and programs.
            output: what it answers with: a pydantic model, a dataclass, a TypedDict, `list[...]`, a union, several
                types in a tuple, or text.
            output_mode: how a model is told: "tool", "native" (the vendor holds it to the schema), "prompted"; "auto"
                takes what suits the model.
            output_retries: how often in a run the model may mend an answer that does not fit.
            output_validators: functions of the answer, or of the run's context and the answer, that return it, perhaps
                changed, or raise `ModelRetry` with words for the model; async or not.
            max_steps: how many model calls one run may make, at least 1.
            settings: passed to the model provider with every call, e.g. `{"temperature": 0}`.
            concurrency: how many of its tasks run at once, over all workers; None for as many as there are slots.
            limits: what else its tasks share places under.
            policies: what decides on its calls, beside the policies of the configuration: `Policy(...)`, functions of a
                `Considered`, or names of policy plugins. The strictest counts.
            window: how much of the conversation the model is shown; by default what it is known to read.
            budget: what one run may use, its sub-agents included: `Budget(tokens=50_000, usd=0.5)`.
            guardrails: what looks at inputs, answers and results, made with `@guardrail`; a plain function looks at
                inputs.
            memory: what it keeps between runs: True, or `Recollection(...)`; see there.
            deps_factory: makes what runs find in `deps` where nobody gives it; in durable runs once in each process.

        Raises:
            ConfigError: something does not fit; names the agent.
        """
        self._described = Description(
            name=name,
            model=model,
            planner=planner,
            planner_settings=planner_settings,
            tools=tools,
            handoffs=handoffs,
            sandbox=sandbox,
            instructions=instructions,
            description=description,
            output=output,
            output_mode=output_mode,
            output_retries=output_retries,
            output_validators=output_validators,
            max_steps=max_steps,
            settings=settings,
            concurrency=concurrency,
            limits=limits,
            deps_factory=deps_factory,
            policies=policies,
            window=window,
            budget=budget,
            guardrails=guardrails,
            memory=memory,
        )
        self._kits = PerLoop(Kit.load)
        self._deps = Deps(deps_factory) if deps_factory is not None else None
        self._listener: ContextVar[OnEvent | None] = ContextVar(f"opspawn_listener_{name}", default=None)
        self._override: ContextVar[Description | None] = ContextVar(f"opspawn_agent_{name}", default=None)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def about(self) -> Description:
        """Its description, with what `override` has changed."""
        return self._override.get() or self._described

    @property
    def name(self) -> str:
        return self._described.name

    @property
    def description(self) -> str:
        return self.about.description

    @property
    def instructions(self) -> str:
        """The instructions as they were written; functions stand there by their names."""
        return written.shown(self.about.fragments)

    @property
    def max_steps(self) -> int:
        return self.about.max_steps

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.about.settings

    @property
    def concurrency(self) -> int | None:
        return self.about.concurrency

    @property
    def limits(self) -> tuple[Limit, ...]:
        return tuple(self.about.limits)

    @property
    def tools(self) -> tuple[Tool | str, ...]:
        """Tools as objects, other agents among them, those of plugins as their names."""
        return self.about.fixed

    @property
    def sources(self) -> tuple[ToolSource, ...]:
        """What gives this agent more tools with each model call, as objects; those of plugins are among `tools`."""
        return self.about.sources

    @property
    def sandbox(self) -> Sandbox | None:
        """Where its tools made from functions run, unless they say so themselves."""
        return self.about.place

    @property
    def subagents(self) -> tuple[SubAgent, ...]:
        """The agents that it may ask, or hand over to."""
        return self.about.subagents

    @property
    def depth(self) -> int:
        """How many agents deep it stands on others: 1 for one alone."""
        return self.about.depth

    @property
    def model(self) -> str | None:
        """The model as "PROVIDER:MODEL", or None for the configured one; of an object its class, of a list all."""
        return model_words(self.about.model)

    @property
    def planner(self) -> str:
        """The planner's name; of an object its class."""
        planner = self.about.planner
        return planner if isinstance(planner, str) else type(planner).__name__

    @property
    def tool_names(self) -> tuple[str, ...]:
        return self.about.tool_names

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, model={self.model!r}, planner={self.planner!r}, tools={list(self.tool_names)})"

    # -- what may be made of it ----------------------------------------------------------------------------------------

    def as_tool(self, *, name: str | None = None, description: str | None = None) -> Tool:
        """The agent as a tool of others, under another name or description; `tools=[agent]` takes it as it is."""
        return AgentTool(self, name, description)

    @contextmanager
    def override(self, **changes: Any) -> Iterator[None]:
        """Change the agent within a block, for whoever runs it there: `with helper.override(model=scripted): ...`.

        Takes what `Agent` takes but the name. For tests: a host takes what holds when it is opened.

        Raises: ConfigError: a change does not fit.
        """
        token = self._override.set(self.about.changed(changes))
        try:
            yield
        finally:
            self._override.reset(token)

    @contextmanager
    def listening(self, on_event: OnEvent) -> Iterator[None]:
        """Tell a function of the events of each run in memory that begins within a block."""
        before = self._listener.get()
        token = self._listener.set(on_event if before is None else _both(before, on_event))
        try:
            yield
        finally:
            self._listener.reset(token)

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(
        self,
        input: Any,
        *,
        deps: DepsT | None = None,
        history: Sequence[Message] = (),
        session: Conversation | None = None,
        kit: Kit | None = None,
        on_event: OnEvent | None = None,
        on_question: OnQuestion | None = None,
        on_wait: OnWait | None = None,
        on_approval: OnApproval | None = None,
        **changes: Any,
    ) -> RunResult[OutputT]:
        """Run in memory, with no server and no journal, and return how it ended.

        Args:
            input: any JSON, images and files; a text is the usual thing.
            deps: what instructions and tools find as `deps`; by default what `deps_factory` makes.
            history: what was said before, as `RunResult.messages` gives it.
            session: a conversation that this run goes on with, and adds to; instead of `history`.
            kit: where models, planners and tools named by text come from; by default `Kit.load()`, kept for later runs
                in the same event loop and closed when that loop ends.
            on_event: called with each `RunEvent`, in order, from the event loop.
            on_question: answers a `Question` that the run asks; async or not. on_wait: gives the data of the next
                signal of a name.
            on_approval: decides where a policy asks, as an `OnApproval`; without it such calls are denied.
            changes: anything that `Agent` takes but the name, for this run: `model`, `planner`, `max_steps`, `tools`,
                ...; `settings` are merged with the agent's.

        Raises:
            ConfigError: something that the agent names is not set or not installed. StepLimit: `max_steps` did not
                suffice.
            BudgetExceeded: what the run may use is used up.
            ModelError: the model refused or kept failing, or never answered with what is wanted. And what the planner
                raises besides.
        """
        check_input(self.name, input)
        check_history(history)
        if session is not None and history:
            raise InvalidInput(
                "A run takes either history or session.", remedy="Conversation(history) makes one of it."
            )
        about = self.about.changed(changes) if changes else self.about
        if kit is None and needs_kit(about):
            kit = await self._kits.get()
        if deps is None and self._deps is not None:
            deps = await self._deps.get()
        rates, policies = (kit.rates, kit.policies) if kit is not None else (None, None)
        if (listener := self._listener.get()) is not None:
            on_event = listener if on_event is None else _both(on_event, listener)
        memories, models = (kit.memories, kit.model) if kit is not None else (None, None)
        nesting = Nesting(on_event, on_question, on_wait, rates, deps, policies, on_approval, memories, models)
        parts, before = resolve(about, kit), session.messages if session is not None else tuple(history)
        ended = await nesting.run(parts, input, before, session.id if session is not None else None)
        if session is not None:
            session.messages = ended.messages
        return RunResult(ended.value, ended.reason, ended.usage, ended.messages, ended.new_messages, ended.agent)

    async def stream(
        self,
        input: Any,
        *,
        deps: DepsT | None = None,
        history: Sequence[Message] = (),
        session: Conversation | None = None,
        kit: Kit | None = None,
        on_question: OnQuestion | None = None,
        on_wait: OnWait | None = None,
        on_approval: OnApproval | None = None,
        **changes: Any,
    ) -> AsyncGenerator[RunEvent | RunResult[OutputT], None]:
        """Run in memory and yield what happens as it happens, and the `RunResult` last.

        The events are those of `opspawn.contracts.run_events`: `RunStarted` first, pieces of the answer as they come,
        and `RunEnded` or `RunFailed` at the end. Closing the generator cancels the run.

        Raises: as `run`, after all that happened before was yielded.
        """
        queue: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        start = partial(self.run, input, deps=deps, history=history, session=session, kit=kit, **changes)
        people: dict[str, Any] = {"on_question": on_question, "on_wait": on_wait, "on_approval": on_approval}
        run = asyncio.create_task(start(on_event=queue.put_nowait, **people))
        run.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield run.result()
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    def handler(self, kit: Kit, *, deps: Deps | None = None, earlier: Earlier | None = None) -> Handler:
        """What the engine calls for each durable run of this agent.

        Names are resolved now, so that no run finds anything missing.

        Args:
            deps: what runs find as `deps` where the agent has no factory of its own.
            earlier: what was said in a run's session before it.

        Raises: ConfigError: something that the agent names is not set or not installed.
        """
        parts, deps = resolve(self.about, kit), self._deps or deps

        async def handle(context: RunContext) -> Any:
            base = cast(Context, context)
            base.memories, base.models = kit.memories, kit.model
            if deps is not None:
                base.deps = await deps.get()
            mine = resolve(overridden(self.about, base.overrides), kit) if base.overrides else parts
            before = await earlier(base, mine.about.name) if earlier is not None else ()
            return (await run_agent(base, mine, before)).plain

        return handle


def _both(one: OnEvent, other: OnEvent) -> OnEvent:
    def listen(event: RunEvent) -> None:
        one(event)
        other(event)

    return listen
