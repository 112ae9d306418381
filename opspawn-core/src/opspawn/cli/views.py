"""How tasks and events look on the command line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import Task, TaskState


def task_json(task: Task) -> dict[str, Any]:
    """A task as the API shows it, without the store's own numbers."""
    return {
        "id": task.id,
        "handler": task.handler,
        "state": str(task.state),
        "agent": task.agent,
        "sessionId": task.session,
        "parent": task.parent,
        "root": task.root,
        "queue": task.queue,
        "attempt": task.attempt,
        "input": task.input,
        "result": task.result,
        "error": task.error,
        "labels": dict(task.labels),
        "retryOf": task.retry_of,
        "due": _time(task.due),
        "created": _time(task.created),
        "updated": _time(task.updated),
        "ended": _time(task.ended),
    }


def event_json(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    return {
        "position": event.position,
        "task": event.task,
        "time": event.time.isoformat(),
        "type": event.type,
        "level": event.level,
        "agent": event.agent,
        "sessionId": event.session,
        "errorType": event.error_type,
        "data": event.data,
    }


def tell_halt(task: Task) -> str:
    """What a human must know and decide about a task that halted."""
    error = task.error or {}
    if task.state is TaskState.PAUSED:
        return f"Task {task.id} is paused: {error.get('message')}\nGo on with: opspawn tasks retry {task.id}"
    arguments = json.dumps(error.get("arguments"), ensure_ascii=False)
    return f"""Task {task.id} is in doubt.
The process died after {error.get("name")!r} had begun, and nothing tells whether it happened. It declares the effect "once" (the
default), so it is not called again without your word.
  call   {error.get("name")}({arguments})
  step   {error.get("key")}
Look at the world, then decide:
  opspawn tasks resolve {task.id} --happened '"what it returned, as JSON"'
  opspawn tasks resolve {task.id} --again       it did not happen, or may happen twice: call it again
  opspawn tasks resolve {task.id} --fail        treat the call as failed; the agent is told
A tool that may safely be called twice says so: @tool(effect="idempotent"), or "read"."""


def _time(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
