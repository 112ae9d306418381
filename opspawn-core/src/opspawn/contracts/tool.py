"""What a tool is, how it is called, and what it learns about the call it serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, runtime_checkable

from typing_extensions import TypeVar

from opspawn.contracts.content import Part
from opspawn.contracts.model import Message, ModelResponse
from opspawn.contracts.question import Answer, Question
from opspawn.contracts.retry import Retry

if TYPE_CHECKING:
    from opspawn.contracts.policy import Decider

Effect = Literal["read", "idempotent", "once"]
Deps = TypeVar("Deps", default=Any)

#: Tells how far a call is: a note, and how much is done of what.
Report = Callable[[str | None, float | None, float | None], None]
#: How much of a result a model is shown unless the tool says otherwise, in characters.
MAX_RESULT = 16_384


class CallNotes(Protocol):
    """What a tool puts down within one call; a call that is made again, after a crash too, finds it.

    `cancelled` says whether the run was asked to end: a call that is cut off then is not made again.
    """

    @property
    def cancelled(self) -> bool: ...

    def read(self) -> Sequence[Any]:
        """The notes of this call so far, oldest first, those of earlier tries and lives of the run included."""
        ...

    async def write(self, note: Any) -> None:
        """Put down any JSON, kept in the journal once this returns. Raises: InvalidInput: it is too large to be kept.

        Secrets do not belong into notes: a journal is read by many.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelAsk:
    """What a tool wants a model asked in the middle of its call: a model call of the run, recorded and counted there.

    Attributes:
        purpose: what for, in a word without spaces; by it the journal, policies and limits know the call.
        model: "PROVIDER:MODEL"; None for the configured one.
        messages: the conversation. settings: go along with the request, over those of the model.
        decider: a policy that counts for this call beside those of the run. It sees the texts of the messages as
            `arguments["messages"]`, and so does a human whom it has asked.
        most_calls, most_tokens: how much may be asked for this purpose in one run, crashes and retries included.
    """

    purpose: str
    model: str | None
    messages: Sequence[Message]
    settings: Mapping[str, Any] = field(default_factory=dict)
    decider: Decider | None = None
    most_calls: int | None = None
    most_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ToolContext(Generic[Deps]):
    """Given to a tool that asks for it (a parameter annotated `ToolContext`, or `ToolContext[Deps]`).

    `idempotency_key` is the same for every try of this one call, over crashes and retries: pass it to services that
    take one. `deps` is what the run was started with. Ids are None or empty outside a durable run. A tool that runs in
    another process gets a copy, whose `deps` must be JSON.

    `ask` puts a question to people as `ctx.put` does, and returns their answer; None where a tool cannot ask. The call
    holds its slot meanwhile; made again after a crash, it gets the answer that the same question was given before.
    `think` has a model asked likewise; None where no run is behind the call. `report` is behind `progress`.

    `notes` are of this one call; None where there is no run.
    """

    idempotency_key: str
    agent: str
    task: str | None = None
    session: str | None = None
    deps: Deps = None  # type: ignore[assignment]  # runs started without deps have none
    ask: Callable[[Question], Awaitable[Answer]] | None = field(default=None, repr=False, compare=False)
    notes: CallNotes | None = field(default=None, repr=False, compare=False)
    think: Callable[[ModelAsk], Awaitable[ModelResponse]] | None = field(default=None, repr=False, compare=False)
    report: Report | None = field(default=None, repr=False, compare=False)

    def progress(self, note: str | None = None, *, done: float | None = None, total: float | None = None) -> None:
        """Tell whoever follows the run how far the call is; from any thread, as often as you like.

        Shown at most ten times a second and never journaled; does nothing where nobody can be told, as for a tool in
        another process. `done` of `total` are in any unit.
        """
        if self.report is not None:
            self.report(note, done, total)


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """How a tool is called.

    Attributes:
        retry: when a failed call is tried again by itself; for the effects "read" and "idempotent" only.
        max_retries: how many turns in a row the model may be asked to call the tool differently (`ModelRetry`, or
            arguments that do not fit) before the tool is closed to it for the rest of the run; 0 or more.
        concurrency: how many calls may be at work in one process at a time; None for no limit.
        sequential: calls of this tool never run beside other calls of the same turn.
        max_result: how much of a result the model is shown, in characters, at least 256; it can read on from there.
    """

    retry: Retry | None = None
    max_retries: int = 2
    concurrency: int | None = None
    sequential: bool = False
    max_result: int = MAX_RESULT


@dataclass(frozen=True, slots=True)
class Happened:
    """A check's word: the call was carried out, and returned `result` (any JSON)."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """A check's word: the call was never carried out, so it may begin."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """A check's word: the call is to be made again, and goes on where its notes say that it was."""


#: Asks the world about a call with the effect "once" that began before a crash: `check(arguments, context)`, async or
#: plain, returns `Happened(result)`, `DidNotHappen()`, `GoOn()`, or None when it cannot tell; then a human must decide.
Check = Callable[[Any, ToolContext], Any]


class Tool(Protocol):
    """Something an agent can do. `opspawn.tool` makes one from a function.

    An attribute `options: ToolOptions` says how the tool is called, an attribute `output: dict` (JSON Schema) what it
    returns; both may be missing.

    Attributes:
        name: 1 to 64 of letters, digits, "_", "-"; unique within an agent.
        description: shown to the model.
        parameters: JSON Schema of the arguments, of type object.
        effect: what a repeated call does to the world; see the explanation of durability.
        timeout_s: seconds until a call is stopped and counts as failed; None for no limit.

    A tool may have an attribute `check`, a `Check`, besides; and an attribute `decider`, a policy that counts for its
    calls beside those that are configured.
    """

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def effect(self) -> Effect: ...
    @property
    def timeout_s(self) -> float | None: ...

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Validate the arguments, do the work, return any JSON.

        Must end soon when it is cancelled; one that does not is left to itself after a moment, and that is logged.

        Raises:
            InvalidInput: the arguments do not fit; shown to the model so that it can mend them.
            ModelRetry: the model should call the tool differently; its words are shown to the model.
            ToolError: the work failed; shown to the model. Any other exception counts as one.
        """
        ...


class StandsForOthers(Protocol):
    """A tool by which others are called: one way in to many, where a model would be shown too much otherwise."""

    def meant(self, arguments: dict[str, Any]) -> tuple[Tool, dict[str, Any]]:
        """Return the tool that a call with these arguments is about, and the arguments for that; or the tool itself.

        Policies decide on what this gives, its effect counts, and it is called. The name of the other tool must follow
        from the arguments alone, since a run that is resumed asks again. Must not raise: what does not fit is told when
        the tool itself is called.
        """
        ...


@runtime_checkable
class SelectsTools(Protocol):
    """A source of which a part can be named: `tools=["NAME:PART"]`, where PART is no Python name, e.g. "github/*"."""

    def select(self, part: str) -> ToolSource:
        """Return the part, as a source. Raises: ConfigError: there is no such part."""
        ...


class ToolSource(Protocol):
    """Tools that come and go, e.g. those of an MCP server, or those that this user may use.

    Attributes:
        name: for messages; unique within an agent.
    """

    @property
    def name(self) -> str: ...

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """Return the tools that the run may use now; their names must differ.

        Asked once per model call, so answer from memory where that is right. `context` tells of the run and has an
        empty `idempotency_key`. What is returned is what the model is offered and may call until the next model call.
        A durable run records the names with the model's answer. An exception fails the model call, as one of the
        provider would: with `error_type` "transient" it is tried again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Something that the model of an agent is shown with each run: what a call of `tool` with `arguments` gives.

    The call is made when the run begins, as any other of the run: under its policies, recorded, counted. What it gives
    is shown as data, beside the instructions and never among them.

    Attributes:
        label: where it is from, in a few words; of several readings with one label the first counts.
        most_bytes: how much of it is shown.
        required: whether the run fails if it cannot be had; else the model is told that it is missing.
    """

    tool: Tool
    arguments: Mapping[str, Any]
    label: str
    most_bytes: int = 16_384
    required: bool = False


@runtime_checkable
class GivesReadings(Protocol):
    """A source of tools that has its agents shown something, too."""

    def readings(self, context: ToolContext) -> Sequence[Reading]:
        """Return what a run is shown, from memory and at once; asked when the run begins, and when it is resumed."""
        ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one call, ready for the model.

    Attributes:
        content: text; a long one is cut, and says how to read on.
        value: what the tool returned, whole; None on error.
        error_type: what sort of error it is, when `is_error`: "retry" (call it differently), "invalid_input",
            "not_found", "timeout", "tool_error", ...; None in records of older versions.
        parts: what a tool returned that gave images or files (`Image`, `File`, or a list of these and texts).
        handle: by which the model can read the rest, when `content` is cut.
    """

    call_id: str
    name: str
    content: str
    value: Any = None
    is_error: bool = False
    parts: tuple[Part, ...] = ()
    error_type: str | None = None
    handle: str | None = None

    def message(self) -> Message:
        """The outcome as a message, to go on with the conversation."""
        return Message("tool", self.content, (), self.call_id, self.is_error, self.parts)
