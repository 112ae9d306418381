"""What happens in a run, as one union of types: the same in Python, from the journal of a durable run, and over SSE.

Each has a `type` of its own, so that a `match` over `RunEvent` can be checked to be exhaustive. `TOLD` says what each
means; names on the wire are camelCase, and the published JSON Schema is made of these classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from opspawn.contracts.model import FinishReason, ToolCall, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What all have.

    Attributes:
        run: the task that it happened in, or an id of the run in memory; other than the stream's own for a run within.
        agent: who was at work; None for workflows and functions.
        id: where to go on from, as `Last-Event-ID`; None for what is not journaled.
        time: when, aware UTC; None in memory and for pieces of an answer.
    """

    run: str = ""
    agent: str | None = None
    id: str | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: its type, as logs can be filtered by, and the words."""

    type: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Told):
    """The first event of a stream. `handler` is what runs, e.g. "agent/helper"."""

    handler: str
    input: Any = None
    session: str | None = None
    type: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta(Told):
    """A piece of the model's text, as it comes. Best effort: `ModelAnswered` has the whole."""

    text: str
    type: Literal["text_delta"] = "text_delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningDelta(Told):
    """A piece of the model's thoughts, as it comes."""

    text: str
    type: Literal["reasoning_delta"] = "reasoning_delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta(Told):
    """A piece of the arguments of a call, as the model writes them; they are no JSON before they are whole."""

    tool: str | None
    text: str
    type: Literal["tool_call_delta"] = "tool_call_delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltasVoid(Told):
    """The pieces since the last `ModelAnswered` are void: the call failed on its way and begins anew."""

    type: Literal["deltas_void"] = "deltas_void"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswered(Told):
    """A model call is over. `usage.cost` is in US dollars, None where the price is unknown.

    Attributes:
        text, reasoning: empty where guardrails hold answers back until they have seen them; so are the arguments of
            calls that are the answer. `RunEnded` has what they let pass.
        calls: the tools that it wants called; `ToolCallStarted` follows for each.
        model: the model as "PROVIDER:MODEL", or as its server names it.
        purpose: None for a step of the conversation; else what a helping call was for, such as "compact".
    """

    text: str
    reasoning: str = ""
    calls: Sequence[ToolCall] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    finish_reason: FinishReason = "stop"
    duration_s: float = 0.0
    purpose: str | None = None
    type: Literal["model_answered"] = "model_answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallStarted(Told):
    """A tool is called for; policies and approvals may still stand before it. One `ToolCallEnded` follows.

    `arguments` are None where a call of the planner's own, such as a step of a plan, did not begin or is a sub-agent.
    """

    call: str
    tool: str
    arguments: Mapping[str, Any] | None = None
    type: Literal["tool_call_started"] = "tool_call_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallEnded(Told):
    """A call is over: carried out, failed, refused, or dropped by the planner (`error_type` "dropped").

    Attributes:
        content: the outcome in the words that the model reads, guardrails included.
        result: the value that the tool returned, whole; None on error.
        error_type: with `is_error`, what sort: "tool_error", "denied", "not_found", "invalid_input", "timeout", ...
    """

    call: str
    tool: str
    content: str = ""
    result: Any = None
    is_error: bool = False
    error_type: str | None = None
    duration_s: float | None = None
    type: Literal["tool_call_ended"] = "tool_call_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(Told):
    """A step of a workflow, function or planner is over: with its result, or with an error."""

    name: str
    result: Any = None
    error: Failure | None = None
    duration_s: float = 0.0
    type: Literal["step_ended"] = "step_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActDenied(Told):
    """A policy, or whoever it asked, did not allow something. `act` is "tool", "model" or "dispatch"."""

    act: str
    name: str
    reason: str = ""
    policy: str | None = None
    by: str | None = None
    type: Literal["act_denied"] = "act_denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailDecided(Told):
    """A guardrail has looked at something, and let it pass, changed it, or held it back.

    Attributes:
        on: what it looked at: "input", "output", or "result": that of `tool`.
        value: with "changed", what counts instead.
    """

    guardrail: str
    on: str
    decision: Literal["passed", "changed", "held_back"]
    tool: str | None = None
    value: Any = None
    reason: str = ""
    type: Literal["guardrail_decided"] = "guardrail_decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked(Told):
    """A call waits for a human's leave. `question` is its id; `until` when it expires."""

    question: str
    text: str
    act: str
    name: str
    arguments: Any = None
    reason: str = ""
    to: str | None = None
    until: datetime | None = None
    type: Literal["approval_asked"] = "approval_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDecided(Told):
    """Somebody decided, or nobody did in time (`expired`). `arguments` are those that the approver changed."""

    question: str
    decision: Literal["approve", "deny"]
    by: str | None = None
    reason: str = ""
    arguments: Any = None
    always: bool = False
    expired: bool = False
    type: Literal["approval_decided"] = "approval_decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAsked(Told):
    """A run asks a human. The answer is one of the `choices`, or fits the JSON Schema, or is any JSON.

    `about` is "question", or what else is asked about, such as a "plan".
    """

    question: str
    text: str
    about: str = "question"
    choices: Sequence[Any] = ()
    schema: Mapping[str, Any] | None = None
    to: str | None = None
    until: datetime | None = None
    type: Literal["question_asked"] = "question_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswered(Told):
    """A question was answered, or nobody did in time (`expired`; `value` is then the default, if there is one)."""

    question: str
    value: Any = None
    by: str | None = None
    expired: bool = False
    type: Literal["question_answered"] = "question_answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade(Told):
    """A planner has a plan, as its own data: for the usual ones an object with `steps`, each with `id` and
    `description`. `by` is who changed it, if a person did.
    """

    plan: Any
    by: str | None = None
    type: Literal["plan_made"] = "plan_made"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanChanged(Told):
    """The plan is another one from now on; as in `PlanMade`."""

    plan: Any
    by: str | None = None
    type: Literal["plan_changed"] = "plan_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStepEnded(Told):
    """A step of the plan is over, by its id."""

    step: str
    failed: bool = False
    type: Literal["plan_step_ended"] = "plan_step_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff(Told):
    """The agent handed the conversation over; `to` goes on in the same run."""

    to: str
    reason: str = ""
    type: Literal["handoff"] = "handoff"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAgentStarted(Told):
    """A run within began: of an agent, a workflow or a function. Its own events have `child` as their `run`."""

    child: str
    handler: str
    type: Literal["sub_agent_started"] = "sub_agent_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubAgentEnded(Told):
    """A run within is over. `usage` is of its own model calls."""

    child: str
    handler: str
    result: Any = None
    error: Failure | None = None
    usage: Usage = field(default_factory=Usage)
    type: Literal["sub_agent_ended"] = "sub_agent_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted(Told):
    """The model is shown less of the conversation from here on.

    Attributes:
        how: "notes", "left out" or "shortened". messages: how many it is about.
        tokens, left: estimated, before and after.
    """

    how: str
    messages: int = 0
    tokens: int = 0
    left: int = 0
    type: Literal["compacted"] = "compacted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Told):
    """Long-term memory was asked, or told something (`act` "recall", "remember" or "forget")."""

    act: str
    data: Mapping[str, Any]
    type: Literal["recalled"] = "recalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUnavailable(Told):
    """Long-term memory could not be used, and the run went on without.

    `what` is "namespace" (whose it is does not follow from the run), "recall", "extract" or "remember".
    """

    what: str
    error: Failure
    type: Literal["memory_unavailable"] = "memory_unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpent(Told):
    """A budget was used up and `what` is "raised"; or what a model call used is "unknown", and charged as reserved.

    `data` says which limit and how far, as the journal has it. A budget that ends the run is the error of `RunFailed`.
    """

    what: str
    data: Mapping[str, Any]
    type: Literal["budget_spent"] = "budget_spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Told):
    """A try failed and another will follow. `step` is None where the whole run is tried again.

    `failures` counts those so far; `until` is when the next begins, None for at once.
    """

    step: str | None
    error: Failure
    failures: int = 0
    until: datetime | None = None
    type: Literal["retrying"] = "retrying"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Told):
    """The run says how far it is; or a tool does in the middle of its call, which is not journaled.

    `tool` is its name then, and `call` the id of the call, where a model has asked for it.
    """

    note: str | None = None
    done: float | None = None
    total: float | None = None
    tool: str | None = None
    call: str | None = None
    type: Literal["progress"] = "progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom(Told):
    """What the code of a run told with `ctx.emit(name, data)`."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    type: Literal["custom"] = "custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHalted(Told):
    """The run stands still until a human decides: it is "paused", or a step of it is "in_doubt"."""

    state: Literal["paused", "in_doubt"]
    error: Failure | None = None
    type: Literal["run_halted"] = "run_halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Told):
    """The last event of a run that succeeded.

    Attributes:
        output: the answer, as JSON.
        reason: why an agent's planner stopped, a word of `REASONS`; None for workflows and functions.
        usage: of all model calls, those of the runs within included.
    """

    output: Any = None
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    type: Literal["run_ended"] = "run_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(Told):
    """The last event of a run that failed; `reason` and `usage` as in `RunEnded`."""

    error: Failure
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    type: Literal["run_failed"] = "run_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCancelled(Told):
    """The last event of a run that was cancelled."""

    usage: Usage = field(default_factory=Usage)
    type: Literal["run_cancelled"] = "run_cancelled"


RunEvent: TypeAlias = Annotated[
    RunStarted
    | TextDelta
    | ReasoningDelta
    | ToolCallDelta
    | DeltasVoid
    | ModelAnswered
    | ToolCallStarted
    | ToolCallEnded
    | StepEnded
    | ActDenied
    | GuardrailDecided
    | ApprovalAsked
    | ApprovalDecided
    | QuestionAsked
    | QuestionAnswered
    | PlanMade
    | PlanChanged
    | PlanStepEnded
    | Handoff
    | SubAgentStarted
    | SubAgentEnded
    | Compacted
    | Recalled
    | MemoryUnavailable
    | BudgetSpent
    | Retrying
    | Progress
    | Custom
    | RunHalted
    | RunEnded
    | RunFailed
    | RunCancelled,
    Field(discriminator="type"),
]

#: The events after which a stream ends.
END = (RunEnded, RunFailed, RunCancelled)
