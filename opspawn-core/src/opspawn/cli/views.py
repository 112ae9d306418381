"""How tasks and events look on the command line."""

from __future__ import annotations

import json
from typing import Any

from opspawn.contracts.store import Task, TaskState
from opspawn.views import TaskView


def task_json(task: Task) -> dict[str, Any]:
    """A task as the API shows it."""
    return TaskView.of(task).model_dump(mode="json", by_alias=True)


def tell_halt(task: Task) -> str:
    """What a human must know and decide about a task that halted."""
    error = task.error or {}
    if task.state is TaskState.PAUSED:
        return f"Task {task.id} is paused: {error.get('message')}\nGo on with: opspawn tasks retry {task.id}"
    arguments = json.dumps(error.get("arguments"), ensure_ascii=False)
    return f"""Task {task.id} is in doubt.
The process died after {error.get("name")!r} had begun, and nothing tells whether it happened. Its effect is "once"
(the default), so it is not called again without your word.
  call   {error.get("name")}({arguments})
  step   {error.get("key")}
Look at the world, then decide:
  opspawn tasks resolve {task.id} --happened '"what it returned, as JSON"'
  opspawn tasks resolve {task.id} --again       it did not happen, or may happen twice: call it again
  opspawn tasks resolve {task.id} --fail        treat the call as failed; the agent is told
A tool that may safely be called twice says so: @tool(effect="idempotent"), or "read"."""
