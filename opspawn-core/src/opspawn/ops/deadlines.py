"""The end of the time that a tree of tasks has: absolute, by the store's clock, and the same for all its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Operation, Put, Task, TaskState
from opspawn.errors import StepTimeout


def time_left(task: Task, clock: Clock) -> float | None:
    """How many seconds a task has left, below 0 if none; None without a deadline. `clock` tells the store's time."""
    return None if task.deadline is None else task.deadline.timestamp() - clock.time()


def missed() -> StepTimeout:
    """The failure of a task that did not end in time."""
    return StepTimeout("The task did not end before its deadline.")


def within(operations: Sequence[Operation], left: float | None) -> Sequence[Operation]:
    """The operations; a task that they let wait becomes due at its deadline at the latest."""
    if left is None:
        return operations
    return [_within(operation, max(0.0, left)) for operation in operations]


def _within(operation: Operation, left: float) -> Operation:
    if not isinstance(operation, Put) or not isinstance(operation.record, Task):
        return operation
    if operation.record.state is not TaskState.WAITING or operation.token is None:
        return operation
    return replace(operation, due_in_s=left if operation.due_in_s is None else min(left, operation.due_in_s))


def lifetime(task: Task) -> float | None:
    """How many seconds a task was given in all."""
    if task.deadline is None or task.created is None:
        return None
    return max(0.0, (task.deadline - task.created).total_seconds())
