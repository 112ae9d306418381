"""What is decided about a task as a whole: what to do when it fails, and what it may use.

Kept as JSON in `Task.retry`, so that every worker and every generation knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from opspawn.contracts.run import Retry, RetryPolicy
from opspawn.contracts.store import Task

ONCE = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a task.

    Attributes:
        retry: for the whole task, beside the retries of its steps.
        fallback: the handler to ask when no attempt is left.
        idle_timeout_s: seconds without a sign of life after which an attempt has failed.
        generation: how many generations came before. from_scratch: whether it inherits nothing from them.
        budget: what the task may use, as `Budget.to_json` says it: it was given that, or lent it by its parent.
        depth: how many tasks it stands below the root of its tree.
        overrides: what its run does differently from its agent.
    """

    retry: Retry = ONCE
    fallback: str | None = None
    generation: int = 0
    from_scratch: bool = False
    idle_timeout_s: float | None = None
    budget: Mapping[str, Any] | None = None
    depth: int = 0
    overrides: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any] | None:
        """As `Task.retry`; None for a plan that says nothing."""
        if self == NO_PLAN:
            return None
        if isinstance(self.retry, Mapping):
            data: dict[str, Any] = {"by_class": {kind: asdict(policy) for kind, policy in self.retry.items()}}
        else:
            data = {} if self.retry == ONCE else asdict(self.retry)
        if self.fallback is not None:
            data["fallback"] = self.fallback
        if self.generation:
            data["generation"] = self.generation
        if self.from_scratch:
            data["from_scratch"] = True
        if self.idle_timeout_s is not None:
            data["idle_timeout_s"] = self.idle_timeout_s
        if self.budget is not None:
            data["budget"] = dict(self.budget)
        if self.depth:
            data["depth"] = self.depth
        if self.overrides:
            data["overrides"] = dict(self.overrides)
        return data


NO_PLAN = Plan()


def fallback_input(task: Task, error: Mapping[str, Any]) -> dict[str, Any]:
    """What the fallback of a task gets: `input`, that of the task, and `error`, its last."""
    input = task.input
    if task.handler.startswith("workflow/") and isinstance(input, Mapping):
        input = input.get("inputs")  # beside which its record has the definition
    return {"input": input, "error": {**error, "task": task.id, "handler": task.handler}}


def sample_input(input: Any) -> dict[str, Any]:
    """What a fallback might get: to find out before anything fails whether it takes that."""
    return {"input": input, "error": {"type": "error", "message": "An example."}}


def plan_of(task: Task) -> Plan:
    """The plan of a task; fields that a newer version wrote are left out."""
    data = task.retry
    if not data:
        return NO_PLAN
    by_class = data.get("by_class")
    retry: Retry = _policy(data)
    if by_class is not None:
        retry = {kind: _policy(fields) for kind, fields in by_class.items()}
    return Plan(
        retry,
        data.get("fallback"),
        data.get("generation", 0),
        data.get("from_scratch", False),
        data.get("idle_timeout_s"),
        data.get("budget"),
        data.get("depth", 0),
        data.get("overrides"),
    )


def max_attempts(task: Task) -> int:
    """How many attempts of a task may fail."""
    retry = plan_of(task).retry
    return (
        retry.attempts if isinstance(retry, RetryPolicy) else max((one.attempts for one in retry.values()), default=1)
    )


def _policy(data: Mapping[str, Any]) -> RetryPolicy:
    fields = {name: data[name] for name in RetryPolicy.__dataclass_fields__ if name in data}
    if "when" in fields:
        fields["when"] = tuple(fields["when"])
    return RetryPolicy(**fields)
