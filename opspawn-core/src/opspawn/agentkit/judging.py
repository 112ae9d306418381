"""Whether what a model said is an answer: the same for every planner."""

from __future__ import annotations

from opspawn.contracts.model import Message, ModelResponse
from opspawn.contracts.planner import PlannerResult, Reason
from opspawn.contracts.run import AgentContext
from opspawn.errors import ModelError, StepError

_ASK_AGAIN = "Your answer was empty. Answer now, or call a tool."
_ASK_REFUSED = "Your answer was withheld. Answer what you can answer, or say in a sentence why you cannot."


class Judge:
    """Looks at answers of one run. The model is asked once more about an empty or withheld one, then the run ends."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._asked_again: Reason | None = None

    def acted(self) -> None:
        """The model did something else meanwhile, so that it may be asked once more again."""
        self._asked_again = None

    async def judge(self, response: ModelResponse, text: str) -> PlannerResult | Message:
        """The result, or what to ask the model; `text` is the answer that a planner has read in the response.

        An answer that was cut off or withheld in part is a result with that reason, and an event
        `custom.answer_cut_off`.

        Raises: ModelError: there is no answer, with the reason "empty", "refused" or "length".
        """
        cut: Reason | None = {"length": "length", "content_filter": "refused"}.get(response.finish_reason)  # type: ignore[assignment]
        if text.strip() and cut is None:
            return PlannerResult(text)
        if cut != "length" and self._asked_again is None:
            self._asked_again = cut or "empty"
            return Message("user", _ASK_REFUSED if cut else _ASK_AGAIN)
        if text.strip() and cut is not None:
            await self._context.emit("answer_cut_off", {"finish_reason": response.finish_reason})
            return PlannerResult(text, cut)
        raise no_answer(cut or "empty")


def no_answer(reason: Reason) -> StepError:
    """The error of an answer that is none: "empty", "refused" or "length"."""
    if reason == "length":
        error = ModelError(
            "The model reached its limit of tokens before it said anything.",
            error_type="invalid_output",
            remedy='Raise it, e.g. Agent(settings={"max_tokens": 4000}).',
        )
    elif reason == "refused":
        error = ModelError(
            "The model refused to answer, or the provider's content filter withheld the answer, twice in a row.",
            error_type="content_filter",
        )
    else:
        error = ModelError("The model answered with nothing, twice in a row.", error_type="invalid_output")
    error.reason = reason
    return error
