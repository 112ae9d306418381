"""Steps in doubt: which they are, and what somebody decides about them.

A task may have several: `once` effects of parallel branches that were in flight when the process died. Each is decided
by its key, and the task goes on when the last one is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.doubts import as_recorded
from opspawn.agentkit.plain import plain_json as as_json
from opspawn.contracts.clock import iso_or_none
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation, Put, Task, TaskState
from opspawn.errors import InDoubt, InvalidInput, InvalidTransition
from opspawn.ops.engine.base import Desk
from opspawn.ops.engine.checks import check_by
from opspawn.ops.run.history import History

#: What may be decided: it happened; it did not, so it begins as if for the first time; do it again whatever happened;
#: the step failed.
OUTCOMES = ("happened", "not-happened", "again", "fail")


def open_doubts(task: Task) -> list[Mapping[str, Any]]:
    """The doubts of a task that is in doubt, oldest first: key, kind, name, arguments, since, idempotency_key, note."""
    error = task.error or {}
    if task.state is not TaskState.IN_DOUBT:
        return []
    return list(error.get("doubts") or [{k: error.get(k) for k in ("key", "kind", "name", "arguments")}])


def describe(halt: InDoubt, history: History, identity: str) -> dict[str, Any]:
    """What the task's error tells of the doubt that stopped it, and of those beside it."""
    doubts = []
    for key, intent in history.doubts.items():
        doubt = {"key": key, "kind": intent.kind, "name": intent.name, "arguments": intent.arguments}
        doubt["since"] = iso_or_none(intent.began)
        doubt["idempotency_key"] = f"{identity}/{key}"
        if key == halt.key and halt.note:
            doubt["note"] = halt.note
        doubts.append(doubt)
    doubts.sort(key=lambda doubt: doubt["since"] or "")
    first = {"key": halt.key, "kind": halt.kind, "name": halt.name, "arguments": halt.arguments}
    return {**first, "doubts": doubts or [first]}


class Doubts(Desk):
    """The part of the engine that decides about steps in doubt."""

    async def resolve(
        self, id: str, outcome: str, result: Any = None, *, key: str | None = None, by: str | None = None
    ) -> Task:
        """Decide on a step in doubt; the task goes on once all its doubts are decided.

        Args:
            outcome: "happened" (with its result), "not-happened" (it begins as if for the first time), "again" (do it
                again, whatever happened) or "fail" (the step failed).
            result: what the step returned, if it happened.
            key: the step's; may be left out where only one is in doubt.
            by: who decides, for the journal.

        Raises:
            NotFound: no such task. InvalidTransition: it is not in doubt. InvalidInput: no such outcome or step, the
                result is not JSON, or belongs to another outcome than "happened", or `by` is no text of at most 200
                characters.
        """
        check_by(by)
        if outcome not in OUTCOMES:
            raise InvalidInput(f"There is no outcome {outcome!r}.", remedy=f"Choose {', '.join(OUTCOMES)}.")
        try:
            result = as_json(result)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The result is not JSON: {error}.", remedy="Give it plain JSON.") from error
        if result is not None and outcome != "happened":
            raise InvalidInput(f"A result does not go with {outcome!r}.", remedy="Give it with 'happened' alone.")

        def decide(task: Task) -> Sequence[Operation]:
            doubt, others = _chosen(task, key)
            data: dict[str, Any] = {"key": doubt["key"], "outcome": outcome, "by": by, "left": len(others)}
            if outcome == "happened":
                data["result"] = as_recorded(doubt.get("kind"), doubt["name"], result)
            if outcome == "fail":
                words = f"An operator decided that {doubt['name']!r} failed."
                data["error"] = {"type": "tool_error", "class": "ToolError", "message": words}
            told = Append(id, NewEvent("task.resolved", data))
            if others:
                error = {**(task.error or {}), **{k: others[0].get(k) for k in ("key", "kind", "name", "arguments")}}
                error["message"] = InDoubt(str(error["key"]), str(error["name"]), None).message
                left = replace(task, error={**error, "doubts": others})
                return [told, Put(left, expect=task.version, due_in_s=None)]
            return [told, Put(replace(task, state=TaskState.QUEUED, error=None), expect=task.version)]

        return await self._decide(id, decide)


def _chosen(task: Task, key: str | None) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """The doubt that is meant, and the others."""
    doubts = open_doubts(task)
    if not doubts:
        raise InvalidTransition(f"Task {task.id} {task.state.words}; there is nothing to resolve.")
    keys = ", ".join(repr(doubt["key"]) for doubt in doubts)
    if key is None and len(doubts) > 1:
        raise InvalidInput(f"Task {task.id} has {len(doubts)} steps in doubt.", remedy=f"Say which one: {keys}.")
    chosen = [doubt for doubt in doubts if key is None or doubt["key"] == key]
    if not chosen:
        raise InvalidInput(f"The step {key!r} of task {task.id} is not in doubt.", remedy=f"In doubt: {keys}.")
    return chosen[0], [doubt for doubt in doubts if doubt is not chosen[0]]
