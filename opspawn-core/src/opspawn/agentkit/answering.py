"""What a run does about its typed answer, besides asking the model: the words, the validators, the bookkeeping."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.output import Fit, Misfit, Output
from opspawn.contracts.content import Called
from opspawn.contracts.model import ModelResponse, ToolCall
from opspawn.errors import ConfigError, ModelError, ModelRetry, StepFailed

if TYPE_CHECKING:
    from opspawn.agentkit.context import Context


def form_of(output: Any, model: BoundModel) -> Output | None:
    """What a planner asks for in between; None for plain text. Raises: StepFailed: a model cannot answer with it."""
    if output is None or output is str:
        return None
    try:
        return Output(output).bound(model.capabilities())
    except ConfigError as error:
        raise StepFailed(f"The planner asks for {error.message}.", error_type="config") from error


def unfit(form: Output, words: str, tries: int) -> ModelError:
    """The end of the model's tries to answer with what is wanted."""
    times = "once" if tries == 1 else f"{tries} times"
    return ModelError(
        f"The model answered {times}, and never with what is wanted. {words}",
        error_type="invalid_output",
        remedy="Raise output_retries, make the output type simpler, or describe its fields.",
    )


def without_answers(response: ModelResponse, others: Sequence[ToolCall]) -> ModelResponse:
    """An answer that came beside other calls does not count: their results may change it."""
    if len(others) == len(response.tool_calls):
        return response
    kept = {call.id for call in others}
    parts = tuple(part for part in response.parts if not isinstance(part, Called) or part.id in kept)
    return replace(response, tool_calls=tuple(others), parts=parts)


async def validated(validators: Sequence[Callable[..., Any]], context: Context, form: Output, fit: Fit) -> Any:
    """What the validators say, as JSON: `{"value": ...}`, or `{"retry": words}` for the model."""
    value, found = fit.value, fit
    for validator in validators:
        try:
            said = validator(context, value) if _takes_two(validator) else validator(value)
            value = await said if inspect.isawaitable(said) else said
        except ModelRetry as error:
            return {"retry": str(error)}
        made = form.of(value)
        if isinstance(made, Misfit):
            name = getattr(validator, "__name__", "a validator")
            raise StepFailed(f"{name!r} must return the answer, and returned {type(value).__name__}.")
        found = made
    return {"value": found.plain}


def _takes_two(validator: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(validator).parameters.values()
    except (TypeError, ValueError):
        return False
    return len([one for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]) > 1
