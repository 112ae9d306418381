"""Deciding about work that is accepted: cancel it, try it again, say what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.codec import result_to_json
from opspawn.agentkit.plain import as_text
from opspawn.agentkit.plain import plain_json as as_json
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation, Put, Task, TaskState
from opspawn.contracts.tool import ToolResult
from opspawn.errors import Conflict, InvalidInput, InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.children import cancel_descendants
from opspawn.ops.desk import Desk


class Deciding(Desk):
    """The part of the engine that decides about tasks."""

    async def cancel(self, id: str) -> Task:
        """Ask for the end of a task; one that never started ends at once, any other is unwound, children first.

        Raises:
            NotFound: no such task. InvalidTransition: it has ended already.
        """

        def decide(task: Task) -> Sequence[Operation]:
            if task.state.terminal:
                raise InvalidTransition(f"Task {id} has already {_ended(task)}.", remedy="There is nothing to cancel.")
            return transitions.cancel(task)

        task = await self._decide(id, decide)
        # A parent unwinds its children, but it may wait for a slot which they hold: so they are told right now, too.
        told = await cancel_descendants(self._store, id)
        for queue in {child.queue for child in told}:
            self._waker.ring(queue)
        return await self.task(id) if told else task

    async def resolve(self, id: str, outcome: str, result: Any = None) -> Task:
        """Decide on a step in doubt: "happened" (with its result), "again" (do it again) or "fail" (the step failed).

        Raises:
            NotFound: no such task. InvalidTransition: it is not in doubt. InvalidInput: no such outcome, or the result
                is not JSON.
        """
        if outcome not in ("happened", "again", "fail"):
            raise InvalidInput(f"There is no outcome {outcome!r}.", remedy="Choose happened, again or fail.")
        try:
            result = as_json(result)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The result is not JSON: {error}.", remedy="Give it plain JSON.") from error

        def decide(task: Task) -> Sequence[Operation]:
            if task.state is not TaskState.IN_DOUBT or task.error is None:
                raise InvalidTransition(f"Task {id} is {task.state}, not in doubt; there is nothing to resolve.")
            data: dict[str, Any] = {"key": task.error["key"], "outcome": outcome}
            if outcome == "happened":
                data["result"] = _as_recorded(task.error, result)
            if outcome == "fail":
                words = f"An operator decided that {task.error['name']!r} failed."
                data["error"] = {"type": "tool_error", "class": "ToolError", "message": words}
            back = replace(task, state=TaskState.QUEUED, error=None)
            return [Append(id, NewEvent("task.resolved", data)), Put(back, expect=task.version)]

        return await self._decide(id, decide)

    async def retry(self, id: str) -> Task:
        """Run an ended task again: a paused one goes on as it is; a failed or cancelled one gets a new generation.

        The new generation is a new task, `retry_of` the old one, which keeps the steps that succeeded and the
        idempotency keys. A task has one next generation: if it was retried before, the answer is that one, or the one
        after it if it has failed by now; so a retry whose answer was lost, or a second click, does nothing twice.

        Raises:
            NotFound: no such task. InvalidTransition: it runs, it succeeded, or it is somebody's child.
        """
        task = await self.task(id)
        while task.state is not TaskState.PAUSED:
            self._check_retry(task)
            fresh = transitions.next_generation(task)
            try:
                await self._commit(transitions.accept(fresh), fresh.queue)
                return await self.task(fresh.id)
            except Conflict:
                task = await self.task(fresh.id)
            if not task.state.terminal and task.state is not TaskState.PAUSED:
                return task
        return await self._decide(task.id, _resume)

    def _check_retry(self, task: Task) -> None:
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise InvalidTransition(
                f"Task {task.id} is {task.state}; only a failed, cancelled or paused task can be retried."
            )
        if task.parent is not None:
            raise InvalidTransition(f"Task {task.id} belongs to {task.root}.", remedy=f"Retry the whole: {task.root}.")


def _resume(task: Task) -> Sequence[Operation]:
    if task.state is not TaskState.PAUSED:
        raise InvalidTransition(f"Task {task.id} is {task.state}, no longer paused.")
    return [Put(replace(task, state=TaskState.QUEUED, error=None), expect=task.version)]


def _as_recorded(doubt: Mapping[str, Any], result: Any) -> Any:
    """The result in the form in which the step would have recorded it: a call of an agent records a `ToolResult`."""
    if doubt.get("kind") != "act":
        return result
    return result_to_json(ToolResult("", doubt["name"], as_text(result), result))


def _ended(task: Task) -> str:
    return {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}[str(task.state)]
