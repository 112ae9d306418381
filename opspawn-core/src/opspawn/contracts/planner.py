"""How an agent gets from its input to an answer, and the words for how that ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from opspawn.contracts.run import AgentContext
from opspawn.errors import StepError

Reason = Literal[
    "answered",
    "step_limit",
    "loop",
    "refused",
    "empty",
    "length",
    "rejected",
    "budget",
    "denied",
    "context_overflow",
    "failed",
]

#: Why a run of an agent ended, in a closed vocabulary; with an output all but the last four, and with an error all but
#: "answered". Both are recorded: as `agent.answered` in the commit of the task's end, and in the task's error.
REASONS: dict[Reason, str] = {
    "answered": "The model answered.",
    "step_limit": "`max_steps` model calls did not suffice; an output is what the model could say by then.",
    "loop": "The model turned in circles; an output is what it could say when it was stopped.",
    "refused": "The model, or the content filter of its provider, would not answer, when asked again, too.",
    "empty": "The model answered with nothing, when asked again, too.",
    "length": "The answer was cut off at the model's limit of tokens; an output is the begin of it.",
    "rejected": "A person rejected what the planner wanted to do; an output is their words.",
    "budget": "A budget is used up.",
    "denied": "The provider, or a policy, does not let the agent go on.",
    "context_overflow": "The conversation is longer than the model can read.",
    "failed": "Something else failed; the error says what.",
}

_BY_TYPE: dict[str, Reason] = {
    "budget": "budget",
    "denied": "denied",
    "content_filter": "refused",
    "context_overflow": "context_overflow",
}


@dataclass(frozen=True, slots=True)
class PlannerResult:
    """The answer, and why the planner stopped: a word of `REASONS`.

    Raises: ValueError: `reason` is none.
    """

    output: Any
    reason: Reason = "answered"

    def __post_init__(self) -> None:
        if self.reason not in get_args(Reason):
            raise ValueError(f"{self.reason!r} is no reason of a planner's end; there are {', '.join(REASONS)}.")


def reason_of(error: BaseException) -> Reason:
    """Why a planner stopped that raised `error`: the error's own `reason` if it has one, else what its type says."""
    if isinstance(error, StepError) and error.reason in get_args(Reason):
        return error.reason  # type: ignore[return-value]
    return _BY_TYPE.get(getattr(error, "error_type", ""), "failed")


class Planner(Protocol):
    """A strategy. It keeps no state between runs, and acts through the context only, so that it is durable for free.

    `opspawn.testing.PlannerContract` has what a planner promises, as tests.
    """

    async def run(self, context: AgentContext) -> PlannerResult:
        """Work on `context.input` until there is an answer.

        Where there is none, raise a `StepError` whose `reason` is a word of `REASONS`. Let `Halt` and cancellation
        pass.

        Raises:
            StepLimit: `context.max_steps` model calls did not suffice, or the model turns in circles.
        """
        ...
