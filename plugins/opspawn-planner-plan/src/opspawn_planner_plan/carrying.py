"""Carrying a plan out: each step in a branch of its own, as soon as what it needs is done.

Every step acts in the scope of its branch, so that its records are found again by a run that begins anew, in whatever
order the branches end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from opspawn.agentkit.content import opening
from opspawn.contracts.content import Part, Text
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.plan import Plan, PlanStep
from opspawn.contracts.run import AgentContext
from opspawn.errors import ModelError
from opspawn_planner_plan.references import Unresolved, resolved

#: Errors of a model that say something about the one question that it was asked.
_OF_THE_STEP = ("context_overflow", "invalid_output", "content_filter")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Attributes:
        state: "done", "failed", or "left": not begun, since what it needs is not done.
        text: the result, or what is wrong, in words for the model. value: the result for later steps.
        parts: images and files of the result.
    """

    step: PlanStep
    state: Literal["done", "failed", "left"]
    text: str
    value: Any = None
    parts: tuple[Part, ...] = ()


async def carry_out(context: AgentContext, plan: Plan, done: Mapping[str, Outcome], max_parallel: int) -> list[Outcome]:
    """The outcomes of all steps, in the order of the plan. A step that fails stops only those that need it.

    Raises: ModelError: the model cannot be asked at all. And what ends the whole run.
    """
    ended = {step.id: asyncio.Event() for step in plan.steps}
    outcomes = dict(done)
    places = asyncio.Semaphore(max_parallel)

    async def branch(step: PlanStep) -> Outcome:
        for need in step.needs:
            if need in ended and not ended[need].is_set():
                await context.join(ended[need].wait())
        missing = [need for need in step.needs if outcomes[need].state != "done"]
        if missing:
            outcome = Outcome(step, "left", f"needs {', '.join(missing)}")
        else:
            if places.locked():
                await context.join(places.acquire())
            else:
                await places.acquire()
            try:
                outcome = await _perform(context, step, outcomes)
            finally:
                places.release()
        outcomes[step.id] = outcome
        ended[step.id].set()
        return outcome

    return await context.gather(*(branch(step) for step in plan.steps))


async def _perform(context: AgentContext, step: PlanStep, outcomes: Mapping[str, Outcome]) -> Outcome:
    try:
        inputs = resolved(step.inputs, _values(step, outcomes))
        if step.tool is None:
            return await _think(context, step, inputs, outcomes)
    except Unresolved as error:
        return Outcome(step, "failed", str(error))
    [result] = await context.act([ToolCall(step.id, step.tool, inputs)])
    if result.is_error:
        return Outcome(step, "failed", result.content)
    return Outcome(step, "done", result.content, result.content if result.parts else result.value, result.parts)


async def _think(
    context: AgentContext, step: PlanStep, inputs: Mapping[str, Any], outcomes: Mapping[str, Outcome]
) -> Outcome:
    """One model call, with the task as a whole, what the step needs, and the step."""
    *before, task = opening(context)
    description = resolved(step.description, _values(step, outcomes))
    words = ["Work on one step of this task now, and on nothing else. Answer with its result only."]
    words += [f"Result of {need}:\n{outcomes[need].text}" for need in step.needs]
    words += [f"{name}: {value}" for name, value in inputs.items()]
    words += [f"The step: {description}"]
    try:
        response = await context.think([*before, added(task, "\n\n".join(words))], tools=(), output=None)
    except ModelError as error:
        if error.error_type not in _OF_THE_STEP:
            raise
        return Outcome(step, "failed", error.message)
    if response.finish_reason == "length":
        return Outcome(step, "failed", "The answer was cut off at the limit of tokens; make the step smaller.")
    if response.finish_reason == "content_filter" or not response.text.strip():
        return Outcome(step, "failed", "There was no answer.")
    return Outcome(step, "done", response.text, response.text)


def added(message: Message, words: str) -> Message:
    """A message with more words at its end."""
    if message.parts:
        return replace(message, parts=(*message.parts, Text(f"\n\n{words}")))
    return replace(message, content=f"{message.content}\n\n{words}")


def _values(step: PlanStep, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {need: outcomes[need].value for need in step.needs}


def report(outcomes: Sequence[Outcome]) -> str:
    """What came of the steps, for the model."""
    return "\n\n".join(_told(outcome) for outcome in outcomes)


def _told(outcome: Outcome) -> str:
    head = f"[{outcome.step.id}] {outcome.step.tool or 'think'}"
    if outcome.state == "done":
        return f"{head}: done\n{outcome.text}"
    verb = "failed:" if outcome.state == "failed" else "not begun, since it"
    return f"{head}: {verb} {outcome.text}"
