"""The checks that go over several places of a definition, and the compiled workflow that comes out of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from opspawn.agentkit.values import Path, check_spec, did_you_mean
from opspawn.contracts.run import RetryPolicy
from opspawn.errors import InvalidInput
from opspawn.ops.workflows import template as shape
from opspawn.ops.workflows.budgets import budget_of
from opspawn.ops.workflows.durations import parse_duration
from opspawn.ops.workflows.expressions import Expression, Text, compile_text
from opspawn.ops.workflows.faults import Faults
from opspawn.ops.workflows.workflow import Step, Workflow

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def build(template: shape.Template, faults: Faults) -> Workflow | None:
    """Return the workflow, or None once something is added to `faults`.

    Raises:
        ConfigError: an expression needs the engine, which is not installed.
    """
    _check_names(template, faults)
    upstream = _check_needs(template, faults)
    compiled: dict[str, Any] = {}
    for id, step in template.steps.items():
        references = _References(template, faults, id, upstream.get(id))
        compiled[id] = references.compile(step.with_, ("steps", id, "with"))
    output = _References(template, faults, None, frozenset(template.steps)).compile(template.output, ("output",))
    steps = tuple(_step(id, step, template, compiled[id], faults) for id, step in template.steps.items())
    if faults:
        return None
    definition = template.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Workflow(definition, template.inputs, steps, output)


def _check_names(template: shape.Template, faults: Faults) -> None:
    for id in template.steps:
        if not re.fullmatch(shape.ID, id):
            faults.add(
                ("steps", id), f"{id[:80]!r} cannot be the id of a step. Use 1 to 64 of the characters a-z 0-9 - _."
            )
    for name, spec in template.inputs.items():
        if not _NAME.match(name):
            faults.add(("inputs", name), f"{name[:80]!r} cannot be the name of an input. Use letters, digits and _.")
        for path, message in check_spec(spec):
            faults.add(("inputs", name, *path), message)
        if "${{" in repr(spec.default):
            faults.add(
                ("inputs", name, "default"), "is used as it stands; expressions work in 'with' and 'output' only."
            )


def _check_needs(template: shape.Template, faults: Faults) -> dict[str, frozenset[str]]:
    """For each step all steps before it; nothing for steps whose needs are at fault."""
    edges: dict[str, list[str]] = {}
    uncertain: set[str] = set()
    for id, step in template.steps.items():
        edges[id] = []
        for index, need in enumerate(step.needs):
            at: Path = ("steps", id, "needs", index)
            if need not in template.steps:
                faults.add(at, f"There is no step {need!r}. {did_you_mean(need, template.steps)}")
                uncertain.add(id)
            elif need in edges[id]:
                faults.add(at, f"names {need!r} twice. Remove one.")
            else:
                edges[id].append(need)
    upstream: dict[str, frozenset[str]] = {}
    for id in _in_order(edges):
        upstream[id] = frozenset(edges[id]).union(*(upstream[need] for need in edges[id]))
    stuck = [id for id in edges if id not in upstream]
    if stuck:
        cycle = _cycle(stuck[0], edges, upstream)
        faults.add(
            ("steps", cycle[0], "needs"),
            f"The steps wait for each other: {' needs '.join(cycle)}. Remove one of these needs.",
        )
    return {id: before for id, before in upstream.items() if id not in uncertain}


def _in_order(edges: Mapping[str, list[str]]) -> Iterator[str]:
    """Steps so that each comes after its needs; those on or behind a cycle never come. Iterative for long chains."""
    waiting = {id: len(needs) for id, needs in edges.items()}
    followers: dict[str, list[str]] = {id: [] for id in edges}
    for id, needs in edges.items():
        for need in needs:
            followers[need].append(id)
    ready = [id for id, count in waiting.items() if not count]
    while ready:
        id = ready.pop()
        yield id
        for follower in followers[id]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)


def _cycle(start: str, edges: Mapping[str, list[str]], done: Mapping[str, Any]) -> list[str]:
    """The steps of a cycle, the first again at the end. Every step that is not done needs one that is not."""
    trail = [start]
    while True:
        following = next(need for need in edges[trail[-1]] if need not in done)
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


class _References:
    """Compiles the expressions of one place and checks what they refer to. `upstream` is None if that is not known."""

    def __init__(
        self, template: shape.Template, faults: Faults, step: str | None, upstream: frozenset[str] | None
    ) -> None:
        self.template = template
        self.faults = faults
        self.step = step
        self.upstream = upstream

    def compile(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict):
            for key in value:
                if "${{" in key:
                    self.faults.add(
                        (*path, key), "is used as it stands; an expression cannot be a key. Make it a value."
                    )
            return {key: self.compile(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.compile(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: Path) -> Text | str:
        try:
            compiled = compile_text(text)
        except InvalidInput as error:
            self.faults.add(path, str(error))
            return text
        for part in compiled.parts if isinstance(compiled, Text) else ():
            for reference in part.paths if isinstance(part, Expression) else ():
                message = self._fault(reference)
                if message:
                    self.faults.add(path, message)
        return compiled

    def _fault(self, path: Path) -> str | None:
        root = path[0]
        if root == "steps":
            return self._step_fault(path)
        if len(path) < 2:
            return None
        known = list(self.template.inputs) if root == "inputs" else ["id", "workflow"]
        if path[1] in known:
            return None
        what = "an input of this workflow" if root == "inputs" else f"part of {root!r}"
        return f"{path[1]!r} is not {what}. {did_you_mean(str(path[1]), known)}"

    def _step_fault(self, path: Path) -> str | None:
        if len(path) < 2:
            return "'steps' alone is not a value. Write steps.ID.output."
        id = str(path[1])
        if id not in self.template.steps:
            dashed = next((one for one in self.template.steps if one.startswith(f"{id}-")), None)
            hint = f'A minus ends a name: write steps["{dashed}"].' if dashed else did_you_mean(id, self.template.steps)
            return f"There is no step {id!r}. {hint}"
        if len(path) < 3 or path[2] != "output":
            said = "" if len(path) < 3 else f", not {path[2]!r}"
            return f"A step has 'output'{said}. Write steps.{id}.output."
        if self.step is None or self.upstream is None or id in self.upstream:
            return None
        if id == self.step:
            return f"The step {id!r} cannot use its own output."
        needs = [*self.template.steps[self.step].needs, id]
        return (
            f"uses the output of {id!r} without waiting for it. Add to step {self.step!r}: needs: [{', '.join(needs)}]"
        )


def _step(id: str, step: shape.Step, template: shape.Template, arguments: Any, faults: Faults) -> Step:
    defaults = template.defaults or shape.Defaults()
    timeout = step.timeout or defaults.timeout
    kind, _, target = step.uses.partition("/")
    sort: Literal["tool", "agent"] = "tool" if kind == "tool" else "agent"
    merged = {
        **(defaults.retry.model_dump(exclude_none=True) if defaults.retry else {}),
        **(step.retry.model_dump(exclude_none=True) if step.retry else {}),
    }
    try:
        retry = _retry(merged) if merged else None
    except ValueError as error:
        place: Path = ("steps", id, "retry") if step.retry else ("defaults", "retry")
        faults.add(place, str(error))
        retry = None
    if step.budget is not None and sort == "tool":
        faults.add(("steps", id, "budget"), "is for agents. Give the workflow a budget, or the tool a timeout.")
    budget = budget_of(step.budget.model_dump() if step.budget is not None else None)
    timeout_s = parse_duration(timeout) if timeout else None
    return Step(id, sort, target, tuple(step.needs), arguments, timeout_s, retry, budget)


def _retry(spec: Mapping[str, Any]) -> RetryPolicy:
    """The policy that a `retry` means. Raises: ValueError."""
    basic = RetryPolicy()
    constant = spec.get("backoff") == "constant"
    initial = parse_duration(spec["initial"]) if "initial" in spec else basic.initial_s
    longest = parse_duration(spec["max"]) if "max" in spec else max(basic.max_s, initial)
    if "initial" in spec and longest < initial:
        raise ValueError(f"'max' ({spec['max']}) is shorter than 'initial' ({spec['initial']}). Raise 'max'.")
    return RetryPolicy(
        attempts=spec.get("attempts", 3),
        initial_s=min(initial, longest),
        max_s=longest,
        factor=1.0 if constant else basic.factor,
        jitter=spec.get("jitter", "none" if constant else "full") == "full",
        when=tuple(spec["when"]) if "when" in spec else basic.when,
    )
