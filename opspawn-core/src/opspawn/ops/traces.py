"""The trace of a task, read from its journal: a tree of spans with their times. The journal is the trace; nothing is
measured beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from opspawn.contracts.events import Event
from opspawn.contracts.store import Store, Task
from opspawn.errors import NotFound

SpanKind = Literal["task", "queued", "run", "step", "sleep"]
#: A tree with more tasks than this is shown up to here; `Trace.whole` says so.
MAX_TASKS = 1000

_ENDS_RUN = frozenset({"task.waiting", "task.released", "task.retry", "task.paused", "task.in_doubt"})
_ENDS_TASK = frozenset({"task.succeeded", "task.failed", "task.cancelled"})


@dataclass
class Span:
    """Something that took time; `end` is None while it goes on, `ok` while that is open.

    `kind` is "task", "queued" (until the first claim), "run" (from a claim to the end of it), "step" or "sleep".
    `name` is the handler, the step's name or the worker; `key` the journal key of a step. `error` as in the journal.
    """

    kind: SpanKind
    name: str
    task: str
    start: datetime
    end: datetime | None = None
    ok: bool | None = None
    key: str | None = None
    error: dict[str, Any] | None = None
    children: list[Span] = field(default_factory=list)

    @property
    def duration_s(self) -> float | None:
        """Seconds from begin to end; None while it goes on."""
        return (self.end - self.start).total_seconds() if self.end is not None else None

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """This span and all under it with their depth, a parent before its children."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)

    def to_json(self) -> dict[str, Any]:
        """The tree as plain JSON, camelCase."""
        return {
            "kind": self.kind,
            "name": self.name,
            "task": self.task,
            "key": self.key,
            "start": self.start.isoformat(),
            "end": self.end.isoformat() if self.end is not None else None,
            "durationS": self.duration_s,
            "ok": self.ok,
            "error": self.error,
            "children": [child.to_json() for child in self.children],
        }


@dataclass
class Trace:
    """What a task and its children did. `whole` is False if the tree was too large to show all of it."""

    task: str
    root: Span
    whole: bool = True

    @property
    def duration_s(self) -> float | None:
        """Seconds from the acceptance of the task to its end; None while it goes on."""
        return self.root.duration_s

    def spans(self) -> list[Span]:
        """All spans, a parent before its children."""
        return [span for _, span in self.root.walk()]

    def to_json(self) -> dict[str, Any]:
        """The trace as plain JSON, camelCase."""
        return {"task": self.task, "durationS": self.duration_s, "whole": self.whole, "root": self.root.to_json()}


async def trace_of(store: Store, task: str) -> Trace:
    """The trace of a task as the journal tells it now. Raises: NotFound."""
    found = await store.get_task(task)
    if found is None:
        raise NotFound("task", task, remedy="See 'opspawn tasks list'.")
    root = _Reader(found, await store.journal(task))
    left, count = [root], 1
    while left and count < MAX_TASKS:
        reader = left.pop(0)
        for child in reader.children:
            inner = await store.get_task(child)
            if inner is None or count >= MAX_TASKS:
                continue
            count += 1
            made = _Reader(inner, await store.journal(child))
            reader.span.children.append(made.span)
            left.append(made)
        reader.span.children.sort(key=lambda span: span.start)
    return Trace(task, root.span, whole=not left)


class _Reader:
    """Makes the span of one task from its journal; `children` are the ids of the tasks that it made."""

    def __init__(self, task: Task, events: Sequence[Event]) -> None:
        began = events[0].time if events else task.created
        assert began is not None
        self.span = Span("task", task.handler, task.id, began)
        self.children: list[str] = []
        self._run: Span | None = None
        self._queued: Span | None = Span("queued", task.queue, task.id, began)
        self.span.children.append(self._queued)
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.type == "task.claimed":
            self._claimed(event)
        elif event.type in ("step.done", "step.failed"):
            self._stepped(event)
        elif event.type == "timer.set":
            self._slept(event)
        elif event.type == "child.spawned":
            self.children.append(event.data["child"])
        elif event.type in _ENDS_RUN:
            self._close_run(event, None if event.type == "task.waiting" else event.data.get("error") is None)
        elif event.type in _ENDS_TASK:
            self._ended(event)

    def _claimed(self, event: Event) -> None:
        if self._queued is not None:
            self._queued.end, self._queued.ok, self._queued = event.time, True, None
        if self._run is not None:  # its worker died: nobody wrote when
            self._close_run(event, False)
        self._run = Span("run", str(event.data.get("worker", "")), self.span.task, event.time)
        self.span.children.append(self._run)

    def _stepped(self, event: Event) -> None:
        data = event.data
        start = event.time - timedelta(seconds=float(data.get("duration_s") or 0.0))
        ok = event.type == "step.done"
        span = Span("step", data["name"], self.span.task, start, event.time, ok, data["key"], data.get("error"))
        (self._run or self.span).children.append(span)

    def _slept(self, event: Event) -> None:
        until = max(event.time, datetime.fromtimestamp(event.data["until"], tz=event.time.tzinfo))
        self.span.children.append(Span("sleep", "sleep", self.span.task, event.time, until, True, event.data["key"]))

    def _close_run(self, event: Event, ok: bool | None) -> None:
        if self._run is not None:
            self._run.end, self._run.ok, self._run.error = event.time, ok, event.data.get("error")
            self._run = None

    def _ended(self, event: Event) -> None:
        ok = event.type == "task.succeeded"
        self._close_run(event, ok)
        if self._queued is not None:
            self._queued.end, self._queued = event.time, None
        self.span.end, self.span.ok, self.span.error = event.time, ok, event.data.get("error")
