"""The run context: the only way in which planners, workflows and functions act, so that every act can be durable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from opspawn.contracts.budget import Budget
from opspawn.contracts.filters import Filter
from opspawn.contracts.memory import Hit, MemoryItem, Namespace
from opspawn.contracts.model import Message, ModelCapabilities, ModelResponse, ToolCall
from opspawn.contracts.plan import Plan, PlanVerdict
from opspawn.contracts.question import NO_DEFAULT
from opspawn.contracts.retry import MAX_POSTPONEMENTS as MAX_POSTPONEMENTS
from opspawn.contracts.retry import Retry as Retry
from opspawn.contracts.retry import RetryPolicy as RetryPolicy
from opspawn.contracts.tool import Check, Effect, Tool, ToolResult

T = TypeVar("T")


class AgentsOwn:
    """The type of `AGENTS_OWN`: the output that the agent itself has."""

    def __repr__(self) -> str:
        return "AGENTS_OWN"


AGENTS_OWN: Final = AgentsOwn()


class RunContext(Protocol):
    """What plain async code acts through.

    In memory each call simply happens. In a durable run each call has a key (scope + name + ordinal within the scope);
    its result is journaled, and after a crash the code runs again from the top while every recorded call answers from
    the journal. Therefore: no effect, clock or chance outside `ctx`, and the same order of calls within a scope for the
    same recorded results.

    A second call of the same name in flight in one scope is refused: give it a `key`, or use `gather`, which opens a
    scope per branch.
    """

    @property
    def input(self) -> Any:
        """What the run was started with."""
        ...

    @property
    def task(self) -> str | None:
        """The task's id, or None in memory."""
        ...

    @property
    def session(self) -> str | None:
        """The session's id, if the run has one."""
        ...

    @property
    def agent(self) -> str:
        """The name of the agent, workflow or function that runs."""
        ...

    @property
    def deps(self) -> Any:
        """What the run was given to work with: connections, a user; of this process, and never recorded."""
        ...

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        *args: Any,
        effect: Effect = "idempotent",
        key: str | None = None,
        retry: Retry | None = None,
        check: Check | None = None,
    ) -> Any:
        """Run any function (async, or a plain one, which runs in a thread) once and record its JSON result.

        A plain function runs in one of 32 threads in this process, and cannot be interrupted: when its run ends before
        it, it is left to itself, and holds up no other. `retry` is None for a single try. A wait for the next try holds
        no slot and survives a restart. `check` settles the doubt about a step with the effect "once" that began before
        a crash; it gets the list of `args`.
        """
        ...

    async def gather(self, *branches: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run branches at once, each in a scope of its own; results in order. The first failure cancels the others.

        Children that are given directly, as `ctx.gather(*(ctx.spawn(...) for ...))`, are made in few commits and waited
        for together: the run is called again when all have ended or one has failed, and not for each of them.
        """
        ...

    async def join(self, awaitable: Awaitable[T]) -> T:
        """Wait for another branch of this run, e.g. for the future that it sets, and return its result.

        The branch counts as waiting meanwhile, so that the run can park. Waiting for anything outside the run here
        would be lost in a restart.
        """
        ...

    async def spawn(
        self,
        handler: str,
        input: Any = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
        fallback: str | None = None,
        budget: Budget | None = None,
    ) -> Any:
        """Run a child task ("agent/NAME", "workflow/NAME", "function/NAME") and return its result; holds no slot while
        waiting.

        `retry` is None for the defaults of the child's handler. `fallback` is the handler that is asked when no attempt
        of the child is left: it gets `{"input": ..., "error": {...}}`, and its result is the child's. `budget` is what
        the child may use; where this run has a budget itself it is lent a part of that, at most what is left, and what
        it does not use comes back.

        Raises:
            StepFailed: the child failed or was cancelled; carries the child's error.
            NotFound: no such handler, or fallback. BudgetExceeded: it would be too many levels deep.
        """
        ...

    async def recall(
        self,
        query: str,
        *,
        namespace: Namespace | None = None,
        filter: Filter | None = None,
        limit: int = 5,
        min_score: float = 0.0,
        recency: float = 0.0,
        confidence: float = 0.0,
        key: str | None = None,
    ) -> list[Hit]:
        """Look up what is remembered, best first, as it was at the first run of this call.

        `namespace` is by default that of the agent's `Recollection`, else `("agent:NAME",)`, with `"session:ID"` in a
        session that somebody named. See `MemoryQuery` for the rest.

        Raises: StepFailed: the memory failed. InvalidInput: the query does not do. ConfigError: there is no memory.
        """
        ...

    async def remember(
        self,
        text: str,
        *,
        namespace: Namespace | None = None,
        metadata: Mapping[str, Any] | None = None,
        subject: str = "",
        confidence: float = 1.0,
        ttl_s: float | None = None,
        refresh: bool = False,
        source: str = "",
        who: str = "",
        key: str | None = None,
    ) -> MemoryItem:
        """Keep something, once, and return it as it is kept. See `MemoryItem`. Raises: as `recall`."""
        ...

    async def forget(
        self,
        *ids: str,
        namespace: Namespace | None = None,
        subject: str | None = None,
        session: str | None = None,
        filter: Filter | None = None,
        older_than_s: float | None = None,
        key: str | None = None,
    ) -> int:
        """Forget what fits all that is given, for good; the answer is how many. Raises: as `recall`."""
        ...

    async def wait(self, signal: str, *, timeout_s: float | None = None, key: str | None = None) -> Any:
        """The data of the next signal of that name that no step of the run has taken; those that came before count.

        Signals are taken in the order in which they came, each once; a repeated id is one signal. Holds no slot, for
        seconds or months. In memory, `on_wait` gives the data.

        Raises:
            StepTimeout: none came within `timeout_s` seconds. ConfigError: in memory, without `on_wait`.
        """
        ...

    async def ask(
        self,
        question: str,
        *,
        choices: Sequence[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        to: str | None = None,
        default: Any = NO_DEFAULT,
        key: str | None = None,
    ) -> Any:
        """Ask a human, and return the answer. Holds no slot while nobody answers.

        Args:
            choices: the values of which the answer must be one. schema: what the answer must be, in the part of JSON
                Schema that workflow inputs use. Neither: any JSON.
            timeout_s: seconds until the question expires; `default` is then the answer, if one is given.
            to: a role or a person, in free text, shown to those who answer.

        Raises:
            StepTimeout: nobody answered in time. InvalidInput: the question does not do.
            ConfigError: in memory, without `on_question`.
        """
        ...

    async def progress(self, note: str | None = None, *, done: float | None = None, total: float | None = None) -> None:
        """Say that the run is alive, and how far it is. Listeners hear of it, not of every call; it is no step."""
        ...

    async def sleep(self, seconds: float, *, key: str | None = None) -> None:
        """Wait; a long wait holds no slot and survives a restart."""
        ...

    async def now(self) -> datetime:
        """The time, aware UTC, as it was at the first run of this call."""
        ...

    async def random(self) -> float:
        """A number in [0, 1), the same on every replay."""
        ...

    async def emit(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Journal an event of your own, of type "custom.NAME", once."""
        ...

    async def take(self, limit: str, amount: float = 1, *, unit: str = "requests", key: str | None = None) -> None:
        """Spend `amount` requests or tokens of the rate `[limits.LIMIT]`, once, and return when they are granted.

        All workers of a store share the rate. A wait holds no slot and survives a restart.

        Raises:
            NotFound: the configuration has no such limit. InvalidInput: no such unit, or no number above 0.
        """
        ...

    async def call(
        self,
        tool: Tool,
        arguments: dict[str, Any],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """Call one tool outside a model's conversation and return its value; `retry` is None for the tool's own policy.

        Raises:
            ToolError: the tool failed. InvalidInput: the arguments do not fit. StepTimeout: it ran too long.
        """
        ...


class AgentContext(RunContext, Protocol):
    """The run context of an agent: a model and tools besides. This is what a planner gets."""

    @property
    def instructions(self) -> str:
        """The agent's instructions, as text."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that the agent may use, without those that come and go."""
        ...

    async def offered(self) -> Sequence[Tool]:
        """The tools that the agent may use now, those that come and go after the others.

        Nothing of it is recorded: a planner that goes by it puts down what it needs, by `step`, since a resumed run may
        be offered others.
        """
        ...

    @property
    def history(self) -> Sequence[Message]:
        """The conversation before this run, without a system message: it goes between the instructions and the input.

        `opspawn.agentkit.content.opening` puts the three together.
        """
        ...

    @property
    def capabilities(self) -> ModelCapabilities:
        """What the agent's model can do, as far as its provider knows; of several models, of the first."""
        ...

    @property
    def max_steps(self) -> int:
        """How many model calls a planner may make before it raises `StepLimit`; at least 1."""
        ...

    async def think(
        self, messages: Sequence[Message], *, tools: Sequence[Tool] | None = None, output: Any = AGENTS_OWN
    ) -> ModelResponse:
        """One model call with the agent's model; `tools` defaults to the agent's. Deltas stream to listeners, the
        answer is recorded.

        Transient failures and rate limits are retried here; what comes out is final.

        An answer without calls fits `output`: the agent's own by default, else any type or JSON Schema, or None for
        plain text where a planner asks for something in between. An answer that does not fit is given back to the model
        with what is wrong, a few times. The text of one that fits is JSON (or text, where that is allowed): a planner
        returns it as it is, and the run makes the typed value of it.

        Raises:
            ModelError: the provider refused or kept failing; or (invalid_output) no answer fitted.
        """
        ...

    async def act(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Carry out tool calls, in parallel, and return their results in order.

        A failing tool, wrong arguments, an unknown tool or a malformed call gives a result with `is_error` that tells
        the model in words; only `Halt` and cancellation come out as exceptions.
        """
        ...

    async def propose(
        self,
        plan: Plan,
        *,
        ask: bool = False,
        remark: str = "",
        by: str | None = None,
        to: str | None = None,
        timeout_s: float | None = None,
    ) -> PlanVerdict:
        """Show a plan, as an event `plan.made`; with `ask`, have a person decide about it.

        Holds no slot while nobody decides. A plan that was shown last is not shown again, so that it can be asked about
        once more, with another remark.

        Args:
            remark: what else whoever decides should read. by: who changed the plan, if a person did.
            to: a role or a person. timeout_s: seconds until nobody's answer counts as "reject".

        Returns: what they say; without `ask`, "approve". A plan that they send has not been looked at.

        Raises: ConfigError: in memory, without `on_question`.
        """
        ...


Handler = Callable[[RunContext], Awaitable[Any]]
