"""Follows a run and its children in the terminal: tool calls and retries on stderr, the streamed answer on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

from opspawn.cli.output import print_text, say
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import Task
from opspawn.errors import NotFound
from opspawn.host import Host
from opspawn.logs import event_line
from opspawn.ops.engine.reading import SETTLED

_LOOK_S = 0.5
#: With each of these a model call, or a try of one, is over.
_THOUGHT = ("step.done", "step.retry", "step.failed")


class Follower:
    """`quiet` prints nothing."""

    def __init__(self, host: Host, task: str, *, quiet: bool) -> None:
        self._host = host
        self._task = task
        self._tree = {task}
        self._quiet = quiet
        self._stop = asyncio.Event()
        self._streams = sys.stdout.isatty() and not quiet
        self._streamed = ""
        self._said = ""

    def stop(self) -> None:
        """Return soon, with the task as it stands."""
        self._stop.set()

    async def follow(self) -> Task:
        """Print what happens until the task has settled, or `stop`."""
        showing = asyncio.create_task(self._show())
        try:
            while not self._stop.is_set():
                task = await self._host.wait(self._task, _LOOK_S)
                if task.state in SETTLED:
                    await asyncio.wait({showing}, timeout=_LOOK_S)
                    return task
            await self._host.working()
            return await self._host.task(self._task)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    def printed(self, result: Any) -> bool:
        """Whether the result stands on the terminal already, because it was streamed."""
        said = self._streamed or self._said
        return isinstance(result, str) and bool(said) and said.strip() == result.strip()

    async def _show(self) -> None:
        async for item in self._host.tail():
            if item.task not in self._tree:
                continue
            if isinstance(item, TaskDelta):
                self._delta(item)
                continue
            if item.data.keys() == {"$payload", "bytes"}:
                with suppress(NotFound):
                    item = replace(item, data=await self._host.store.payload(item.data["$payload"]))
            self._event(item)
            if item.task == self._task and item.type.removeprefix("task.") in SETTLED:
                return

    def _delta(self, delta: TaskDelta) -> None:
        if delta.task == self._task and delta.data.get("kind") == "restart" and self._streamed:
            print_text("")  # what stands there is void; the next try begins on a line of its own
            self._streamed = ""
        if self._streams and delta.task == self._task and delta.data.get("kind") == "text":
            self._streamed += delta.data["text"]
            print_text(delta.data["text"], nl=False)

    def _event(self, event: Event) -> None:
        data = event.data
        if event.type == "child.spawned":
            self._tree.add(data["child"])
        if self._streamed and event.type in _THOUGHT and data["kind"] == "think":
            print_text("")
            # What broke off, or went with tool calls, is not the answer; the last of several answers is.
            whole = event.type == "step.done" and not data["result"].get("tool_calls")
            self._said, self._streamed = self._streamed if whole else "", ""
        line = _line(event)
        if line and not self._quiet:
            say(line, dim=True)


def _line(event: Event) -> str | None:
    data = event.data
    if event.type == "step.done" and data["kind"] == "think":
        calls = data["result"].get("tool_calls", ())
        return "\n".join(f"→ {call['name']}({_brief(call.get('arguments', {}))})" for call in calls) or None
    if event.type == "step.done" and data["kind"] in ("act", "tool", "step"):
        wrong = isinstance(data.get("result"), dict) and data["result"].get("is_error")
        return f"{'✗' if wrong else '✓'} {data['name']}{' failed' if wrong else ''} ({data['duration_s']:.2f} s)"
    if event.type == "step.failed":
        return f"✗ {data['name']}: {data['error']['message']}"
    if event.type == "step.retry":
        return f"↻ {data['name']}: {data['error']['message']} Trying again."
    if event.type == "question.asked":
        if data.get("about") == "approval":
            return f"? {data['text']}\n  opspawn approvals approve|deny {data['question']}"
        return f"? {data['text']}\n  opspawn questions answer {data['question']} {_choices(data)}"
    if event.type == "policy.denied":
        return f"✗ {data['name']} is not allowed. {data.get('reason', '')}".rstrip()
    if event.type == "agent.compacted":
        return f"… the conversation was too long: {data['how']}"
    if event.type == "budget.raised":
        return f"! {event_line(event)['message']}"
    if event.type == "child.spawned":
        return f"⤷ {data['name']} as {data['child']}"
    return None


def _choices(data: Any) -> str:
    return "|".join(str(choice) for choice in data.get("choices", ())) or "VALUE"


def _brief(arguments: Any) -> str:
    text = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
    return text if len(text) <= 100 else f"{text[:97]}..."
