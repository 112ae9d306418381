"""What a tool is, and what it learns about the call it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opspawn.contracts.content import Part
from opspawn.contracts.model import Message

Effect = Literal["read", "idempotent", "once"]


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Given to a tool that asks for it (a parameter annotated `ToolContext`).

    `idempotency_key` is the same for every try of this one call, over crashes and retries: pass it to services that
    take one. `deps` is what the run was started with. Ids are None or empty outside a durable run.
    """

    idempotency_key: str
    agent: str
    task: str | None = None
    session: str | None = None
    deps: Any = None


@dataclass(frozen=True, slots=True)
class Happened:
    """A check's word: the call was carried out, and returned `result` (any JSON)."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class DidNotHappen:
    """A check's word: the call was never carried out, so it may begin."""


#: Asks the world about a call with the effect "once" that began before a crash: `check(arguments, context)`, async or
#: plain, returns `Happened(result)`, `DidNotHappen()`, or None when it cannot tell; then a human must decide.
Check = Callable[[Any, ToolContext], Any]


class Tool(Protocol):
    """Something an agent can do. `opspawn.tool` makes one from a function.

    Attributes:
        name: 1 to 64 of letters, digits, "_", "-"; unique within an agent.
        description: shown to the model.
        parameters: JSON Schema of the arguments, of type object.
        effect: what a repeated call does to the world; see the explanation of durability.
        timeout_s: seconds until a call is stopped and counts as failed; None for no limit.

    A tool may have an attribute `check`, a `Check`, besides.
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

        Raises:
            InvalidInput: the arguments do not fit; shown to the model so that it can mend them.
            ToolError: the work failed; shown to the model. Any other exception counts as one.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The outcome of one call, ready for the model: `content` is text; `value` what the tool returned (None on
    error). A tool that returned images or files (`Image`, `File`, or a list of these and texts) has them in `parts`.
    """

    call_id: str
    name: str
    content: str
    value: Any = None
    is_error: bool = False
    parts: tuple[Part, ...] = ()

    def message(self) -> Message:
        """The outcome as a message, to go on with the conversation."""
        return Message("tool", self.content, (), self.call_id, self.is_error, self.parts)
