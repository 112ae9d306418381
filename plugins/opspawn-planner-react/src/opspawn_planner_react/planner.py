"""The loop: think, act, look at what came of it, think again, until the model answers.

ReAct interleaves reasoning with actions: Shunyu Yao et al., "ReAct: Synergizing Reasoning and Acting in Language
Models", 2022, arXiv:2210.03629. There thought and action are lines of text that the caller parses; here the model's own
tool calling carries the actions, which models since then are trained on. All else is the paper's loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opspawn.agentkit.content import opening
from opspawn.contracts.model import Message, ModelResponse, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.errors import ModelError, StepLimit

_GO_ON = "Use what you know already, or do something else."
_ASK_AGAIN = "Your answer was empty. Answer now, or call a tool."


class ReactPlanner:
    """Thinks and acts until the model answers without calling a tool; keeps nothing between runs.

    Reasons of the result: "answered"; "length" or "content_filter" when the provider cut the answer off there, which
    the run also tells as an event `custom.answer_cut_off`.
    """

    def __init__(self, *, max_repeats: int = 3) -> None:
        """Take `max_repeats`, 2 or more: how often in a row a model may ask for the same calls with the same arguments.

        The last of these is not carried out; the model is told instead. If it asks again, the run ends: `StepLimit`.
        """
        self._max_repeats = max_repeats

    async def run(self, context: AgentContext) -> PlannerResult:
        """Work on the input until there is an answer.

        Raises:
            StepLimit: `context.max_steps` model calls did not suffice, or the model turns in circles.
            ModelError: the model failed, or answered with nothing twice in a row (invalid_output).
        """
        messages = opening(context)
        previous: tuple[ToolCall, ...] = ()
        repeats = 0
        was_empty = False
        for _ in range(context.max_steps):
            response = await context.think(messages)
            calls = response.tool_calls
            if not calls:
                if response.text.strip():
                    return await _answer(context, response)
                _check_empty(response, was_empty)
                was_empty = True
                messages.append(Message("user", _ASK_AGAIN))
                continue
            was_empty = False
            repeats = repeats + 1 if _same(calls, previous) else 1
            previous = calls
            messages.append(response.message())
            if repeats < self._max_repeats:
                results = await context.act(calls)
                messages += [result.message() for result in results]
            elif repeats == self._max_repeats:
                words = f"Not carried out: you asked for this {repeats} times in a row. {_GO_ON}"
                messages += [Message("tool", words, (), call.id, True) for call in calls]
            else:
                raise StepLimit(
                    f"The model turns in circles: it asked {repeats} times in a row for {_in_words(calls)}.",
                    remedy="Make the tool's result clearer, or raise max_repeats in [plugins.react].",
                )
        raise StepLimit(
            f"The agent {context.agent!r} made {context.max_steps} model calls and has no answer.",
            remedy="Raise its max_steps, or give it a smaller task.",
        )


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def _answer(context: AgentContext, response: ModelResponse) -> PlannerResult:
    if response.finish_reason in ("length", "content_filter"):
        await context.emit("answer_cut_off", {"finish_reason": response.finish_reason})
        return PlannerResult(response.text, response.finish_reason)
    return PlannerResult(response.text)


def _check_empty(response: ModelResponse, again: bool) -> None:
    """Raise where asking once more has no prospect: the same limit or filter would cut the next answer off as well."""
    if response.finish_reason == "length":
        raise ModelError(
            "The model reached its limit of tokens before it said anything.",
            error_type="invalid_output",
            remedy='Raise it, e.g. Agent(settings={"max_tokens": 4000}).',
        )
    if response.finish_reason == "content_filter":
        raise ModelError("The provider's content filter withheld the answer.", error_type="permanent")
    if again:
        raise ModelError("The model answered with nothing, twice in a row.", error_type="invalid_output")


def _same(calls: Sequence[ToolCall], others: Sequence[ToolCall]) -> bool:
    """Whether two answers ask for the same; ids do not count, since they are always new."""
    return len(calls) == len(others) and all(
        a.name == b.name and a.arguments == b.arguments and a.malformed == b.malformed
        for a, b in zip(calls, others, strict=True)
    )


def _in_words(calls: Sequence[ToolCall]) -> str:
    return ", ".join(f"{call.name}({_compact(call.arguments)[:100]})" for call in calls)
