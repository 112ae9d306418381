"""Whether a plan can be carried out: read from JSON, completed, and its faults in words for who made it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from opspawn.agentkit.faults import faults_of
from opspawn.agentkit.reading import NAME as READ_ON
from opspawn.contracts.plan import Plan, PlanStep
from opspawn.contracts.tool import Effect, Tool
from opspawn_planner_plan.fitting import misfits
from opspawn_planner_plan.references import referred

#: The fault of a plan of which nothing is left to do.
ALL_DONE = "all its steps are done already"
_STRENGTH = {"read": 0, "idempotent": 1, "once": 2}


@dataclass(frozen=True, slots=True)
class Known:
    """What a plan is checked against of a tool that comes and goes."""

    name: str
    effect: Effect
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a plan must keep to.

    Attributes:
        tools: by name. done: the steps that are done, by id.
        steps: how many it may have. thoughts: for how many steps of thinking there are model calls left.
    """

    tools: Mapping[str, Tool | Known]
    done: Mapping[str, PlanStep]
    steps: int
    thoughts: int


def read_plan(data: Any, bounds: Bounds) -> tuple[Plan | None, list[str]]:
    """The plan with its effects and needs completed and without steps that are done; or its faults, one line each."""
    data = _as_meant(data, bounds)
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        return None, faults_of(error, data if isinstance(data, Mapping) else {}, ())
    steps = [_completed(step, bounds) for step in plan.steps]
    steps = [step for step in steps if bounds.done.get(step.id) != step]
    if not steps:
        return None, [ALL_DONE]
    faults = [*_faults_of_all(steps, bounds), *(fault for step in steps for fault in _faults_of(step, bounds))]
    if not faults and (circle := _circle(steps)):
        faults = [f"steps need one another in a circle: {' -> '.join(circle)}"]
    return (None, faults) if faults else (Plan(steps=steps), [])


def _as_meant(data: Any, bounds: Bounds) -> Any:
    """Small liberties that models take: no tool as "think" or "", one need as a text, nulls for nothing."""
    if not isinstance(data, Mapping) or not isinstance(data.get("steps"), list):
        return data
    steps = []
    for step in data["steps"]:
        if isinstance(step, Mapping):
            step = {name: value for name, value in step.items() if value is not None}
            if step.get("tool") in ("", "think") and step["tool"] not in bounds.tools:
                del step["tool"]
            if isinstance(step.get("needs"), str):
                step["needs"] = [step["needs"]] if step["needs"] else []
        steps.append(step)
    return {**data, "steps": steps}


def _completed(step: PlanStep, bounds: Bounds) -> PlanStep:
    needs = list(dict.fromkeys([*step.needs, *referred(step.inputs), *referred(step.description)]))
    tool = bounds.tools.get(step.tool or "")
    effect = step.effect or (tool.effect if tool is not None else "read")
    return step.model_copy(update={"needs": needs, "effect": effect})


def _faults_of_all(steps: list[PlanStep], bounds: Bounds) -> Iterator[str]:
    if len(steps) > bounds.steps:
        yield f"it has {len(steps)} steps, and {bounds.steps} are the most"
    thoughts = sum(step.tool is None for step in steps)
    if thoughts > bounds.thoughts:
        yield f"it has {thoughts} steps without a tool, and only {max(0, bounds.thoughts)} more are possible"
    seen: set[str] = set()
    for step in steps:
        if step.id in seen:
            yield f"two steps have the id {step.id!r}"
        elif step.id in bounds.done:
            yield f"step {step.id!r} is done already; leave it out, or give what is new another id"
        seen.add(step.id)
    for step in steps:
        for need in step.needs:
            if need == step.id:
                yield f"step {step.id!r} needs itself"
            elif need not in seen and need not in bounds.done:
                yield f"step {step.id!r} needs {need!r}, which is no step; in text that is no reference write $${{...}}"


def _faults_of(step: PlanStep, bounds: Bounds) -> Iterator[str]:
    if step.tool is None:
        if not step.description.strip():
            yield f"step {step.id!r} has no tool, and no description of what to work out"
        return
    tool = bounds.tools.get(step.tool)
    if tool is None:
        if step.tool != READ_ON:
            yield f"step {step.id!r}: {_unknown(step.tool, bounds)}"
        return
    if _STRENGTH[step.effect or "once"] < _STRENGTH[tool.effect]:
        yield f"step {step.id!r} says the effect {step.effect!r}, and {step.tool!r} has {tool.effect!r}"
    schema = tool.parameters
    known = schema.get("properties") or {}
    for name in schema.get("required") or ():
        if name not in step.inputs:
            yield f"step {step.id!r} lacks the input {name!r} of {step.tool!r}"
    if schema.get("additionalProperties") is False:
        for name in step.inputs.keys() - known.keys():
            yield f"step {step.id!r}: {step.tool!r} has no input {name!r}; known: {', '.join(known) or 'none'}"
    for fault in misfits(step.inputs, schema):
        yield f"step {step.id!r}: the input {fault}"


def _unknown(name: str, bounds: Bounds) -> str:
    near = difflib.get_close_matches(name, bounds.tools, n=3)
    hint = f" Did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
    return f"There is no tool {name!r}.{hint} Tools: {', '.join(bounds.tools) or 'none'}."


def _circle(steps: list[PlanStep]) -> list[str]:
    """The ids of steps that need one another, the first again at the end; empty where there is no circle."""
    left = {step.id: {need for need in step.needs if any(need == other.id for other in steps)} for step in steps}
    while ready := [id for id, needs in left.items() if not needs & left.keys()]:
        for id in ready:
            del left[id]
    if not left:
        return []
    way = [min(left)]
    while True:
        following = min(left[way[-1]] & left.keys())
        if following in way:
            return [*way[way.index(following) :], following]
        way.append(following)
