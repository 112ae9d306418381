"""Guardrails: what looks at what goes into a run and comes out of its models and tools, and may hold it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opspawn.contracts.model import Message

#: What is looked at: the input of a run; an answer of its model; the result of a tool, before the model sees it.
Sight = Literal["input", "output", "result"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a guardrail looks at. To change it changes nothing: it is a copy.

    Attributes:
        on: "input", "output" or "result".
        value: the input of the run, as JSON; or the text of a model's answer (JSON, where it is typed); or the text of
            a tool's result, whole, also where a model would be shown a part.
        agent: whose run it is. tool, arguments: of a result.
        task, session: ids, None in memory. deps: what the run was started with.
    """

    on: Sight
    value: Any
    agent: str
    tool: str | None = None
    arguments: Any = None
    task: str | None = None
    session: str | None = None
    deps: Any = None


@dataclass(frozen=True, slots=True)
class Redact:
    """Go on with `value` instead of what was seen; `reason` is for the journal."""

    value: Any
    reason: str = ""


class Judging(Protocol):
    """What a guardrail of two parameters gets as its second: how it asks a model, as part of the run."""

    async def think(self, prompt: str | Sequence[Message], *, output: Any = None) -> Any:
        """The text that the agent's model answers, or a value of the type `output`. It is recorded, and counts.

        Raises: ModelError; BudgetExceeded.
        """
        ...


#: A guardrail's function, of a `Seen`, or a `Seen` and a `Judging`; async or not. It returns a `Verdict` ("allow",
#: "ask" a human, "deny"), a `Redact`, or None where it has nothing against it.
Guarding = Callable[..., Any]
