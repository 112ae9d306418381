"""A question to a human, as whoever shows it gets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal


class NoDefault:
    """The type of `NO_DEFAULT`: a question that nobody answers in time fails."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT: Final = NoDefault()

QuestionKind = Literal["question", "approval", "plan"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        text: the question, in words.
        choices: the values of which the answer must be one; empty for any.
        schema: what the answer must be, in the part of JSON Schema that workflow inputs use; None for any JSON.
        to: a role or a person, in free text: for people, nobody else is refused.
        kind: "question"; "approval" of a call with exactly the arguments whose digest is `digest`; or "plan": whether
            a plan may be carried out.
        call: of an approval, what is asked about: act, name, arguments, reason, policy, scope (of "always"). Of a plan:
            act ("plan") and plan.
    """

    text: str
    choices: Sequence[Any] = ()
    schema: Mapping[str, Any] | None = None
    to: str | None = None
    kind: QuestionKind = "question"
    digest: str | None = None
    call: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: by whom and when, or, if nobody did in time, the default (`expired`).

    `question` is the id of the question, None in memory.
    """

    value: Any
    by: str | None = None
    question: str | None = None
    at: datetime | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question as it is kept.

    Attributes:
        task, root, agent, session, key: who asks: the task, its tree, and the step in it.
        state: "open"; or "answered"; or "expired": nobody answered in time; or "withdrawn": the task ended first.
        expires: when it expires; None is never.
        answer: what was answered, once it was.
        consumed_by: the step that used the answer. An answer is used by one step.
    """

    id: str
    question: Question
    task: str
    root: str
    key: str
    state: Literal["open", "answered", "expired", "withdrawn"]
    agent: str | None = None
    session: str | None = None
    expires: datetime | None = None
    created: datetime | None = None
    answer: Answer | None = None
    consumed_by: str | None = None
    version: int = 0


#: Answers the questions of a run in memory, and gives the data of the next signal of a name; async or not.
OnQuestion = Callable[[Question], Any | Awaitable[Any]]
OnWait = Callable[[str], Any | Awaitable[Any]]
