"""How tasks and events look on the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from opspawn.contracts.store import Task, TaskState
from opspawn.views import DoubtView, TaskView


def task_json(task: Task, answered: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A task as the API shows it."""
    return TaskView.of(task, answered).to_json()


def cause_of(task: Task) -> str:
    """Why a task failed or was cancelled."""
    return str((task.error or {}).get("message") or "it was cancelled")


def tell_halt(task: Task) -> str:
    """What a human must know and decide about a task that halted."""
    error = task.error or {}
    if task.state is TaskState.PAUSED:
        return f"Task {task.id} is paused: {error.get('message')}\nGo on with: opspawn tasks resume {task.id}"
    doubts = TaskView.of(task).doubts
    names = " and ".join(repr(doubt.name) for doubt in doubts)
    step = f" --step {shlex.quote(doubts[0].key)}" if len(doubts) > 1 else ""
    return f"""Task {task.id} is in doubt.
The run was cut off after {names} had begun (its process died, or it was cancelled, or its time was up), and
nothing tells whether it happened. Its effect is "once" (the default), so it is not called again without your word.
{chr(10).join(_tell_doubt(doubt) for doubt in doubts)}
Look at the world, then decide:
  opspawn tasks resolve {task.id}{step} --happened '"what it returned, as JSON"'
  opspawn tasks resolve {task.id}{step} --not-happened   call it as if for the first time
  opspawn tasks resolve {task.id}{step} --again          call it again, even if it happened
  opspawn tasks resolve {task.id}{step} --fail           treat the call as failed; the agent is told
{_hint(doubts[0])}"""


def _hint(doubt: DoubtView) -> str:
    """What keeps such a call out of doubt the next time, for whoever wrote the tool or configured its server."""
    named = doubt.arguments.get("tool") if isinstance(doubt.arguments, Mapping) else None
    full = str(named or "").replace("/", "__", 1) if doubt.name == "mcp" else doubt.name
    server, apart, tool = full.partition("__")
    if apart:
        return f"""\
A tool of an MCP server that may safely be called twice is named in the server's settings, as "idempotent" or "read":
  [plugins.mcp.servers.{server}]
  effects = {{ {json.dumps(tool)} = "idempotent" }}"""
    return """\
A tool that may safely be called twice says so: @tool(effect="idempotent"), or "read". One that can find out what
happened brings a check: @tool(check=...)."""


def _tell_doubt(doubt: DoubtView) -> str:
    began = f"{doubt.since:%Y-%m-%d %H:%M:%S} UTC" if doubt.since is not None else "unknown"
    lines = [
        f"  call   {doubt.name}({_arguments(doubt.arguments)})",
        f"  step   {doubt.key}",
        f"  began  {began}",
        f"  key    {doubt.idempotency_key or 'unknown'}   (idempotency key)",
    ]
    return "\n".join([*lines, f"  note   {doubt.note}"] if doubt.note else lines)


def _arguments(arguments: Any) -> str:
    """As one writes them in a call: those of a step are a list, in order; those of a tool are an object."""
    given = arguments if isinstance(arguments, list) else [arguments]
    return ", ".join(json.dumps(one, ensure_ascii=False) for one in given)
