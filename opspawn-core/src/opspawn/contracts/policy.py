"""Policies: what decides, before it happens, whether an agent may do something; and what an approver says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opspawn.contracts.model import Message
from opspawn.contracts.question import Question
from opspawn.contracts.tool import Effect

Decision = Literal["allow", "ask", "deny"]
#: What is decided on: a tool call, a model call, or work for another agent, workflow or function.
Act = Literal["tool", "model", "dispatch"]


@dataclass(frozen=True, slots=True)
class Considered:
    """What is about to happen. To change it changes nothing: it is a copy.

    Attributes:
        act: "tool", "model" or "dispatch".
        name: of the tool; or the model as "PROVIDER:MODEL"; or the handler that is asked, e.g. "agent/helper".
        arguments: exactly what the tool or the handler will get; of a model call `{"tools": [...]}`, the names.
        agent: the agent, workflow or function that acts.
        effect: of a tool. task, session: ids, None in memory. deps: what the run was started with.
        messages: the conversation, of a model call.
    """

    act: Act
    name: str
    arguments: Any
    agent: str
    effect: Effect | None = None
    task: str | None = None
    session: str | None = None
    deps: Any = None
    messages: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says.

    Attributes:
        decision: "allow", "ask" a human, or "deny".
        reason: in words, told to the model or to whoever is asked.
        approvers: who should decide, as roles or people; for people, nobody else is refused.
        expires_s: seconds after which a question to a human counts as denied, and an approval that was not used is
            void; None is never.
    """

    decision: Decision
    reason: str = ""
    approvers: Sequence[str] = ()
    expires_s: float | None = None


class Decider(Protocol):
    """A policy. A plain function of a `Considered` is one, too.

    Attributes:
        name: for the journal and for whoever is denied.
    """

    @property
    def name(self) -> str: ...

    def decide(self, considered: Considered) -> Verdict | Awaitable[Verdict | None] | None:
        """Decide; None has no opinion. May be async, and has 30 s.

        Of several policies the strictest answer counts. An exception, a wrong answer and one that does not come in time
        count as "deny". A call that was carried out before a crash is not decided on again; one that was not, is.
        """
        ...


@dataclass(frozen=True, slots=True)
class Approve:
    """An approver's yes.

    Attributes:
        arguments: to be used instead of those that were asked about; None for exactly those. What does not fit
            the tool's schema is refused: by `approve`, and in memory by a `ConfigError` that ends the run.
        always: whether the same policy need not ask about the same tool again in this run, whatever the arguments.
        by: who decided.
    """

    arguments: Mapping[str, Any] | None = None
    always: bool = False
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """An approver's no; `reason` is told to the model."""

    reason: str = ""
    by: str | None = None


#: Decides on the approvals of a run in memory: True, False, `Approve(...)` or `Deny(...)`; async or not.
#: `Question.call` says what is asked about.
OnApproval = Callable[[Question], bool | Approve | Deny | Awaitable[bool | Approve | Deny]]
