"""The trace of a task, read from its journal: a tree of spans with their times. The journal is the trace; nothing is
measured beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from opspawn.contracts.clock import iso, iso_or_none
from opspawn.contracts.events import Event
from opspawn.contracts.store import Store, Task
from opspawn.errors import NotFound

SpanKind = Literal["task", "queued", "run", "step", "sleep", "wait"]
#: A tree with more tasks than this is shown up to here; `Trace.whole` says so.
MAX_TASKS = 1000
#: Of the children of one task so many are shown, those that did not succeed first; `Span.more` counts the others.
MAX_CHILDREN = 50

_ENDS_RUN = frozenset({"task.waiting", "task.released", "task.retry", "task.paused", "task.in_doubt"})
_STANDS = {"task.retry": "the next attempt", "task.paused": "an operator", "task.in_doubt": "a decision"}
_ENDS_TASK = frozenset({"task.succeeded", "task.failed", "task.cancelled"})


@dataclass
class Span:
    """Something that took time; `end` is None while it goes on, `ok` while that is open.

    `kind` is "task", "queued" (until the first claim), "run" (from a claim to the end of it), "step", "sleep" or "wait"
    (parked, until the next claim). `name` is the handler, the step's name, the worker or what was waited for; `key` the
    journal key of a step. `error` as in the journal. `state` is that of a task now. `failures` counts what failed
    before: attempts of a task, tries of a step. `more` says of children that are not shown how many there are by state.
    """

    kind: SpanKind
    name: str
    task: str
    start: datetime
    end: datetime | None = None
    ok: bool | None = None
    key: str | None = None
    error: dict[str, Any] | None = None
    state: str | None = None
    failures: int = 0
    more: dict[str, int] = field(default_factory=dict)
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
            "start": iso(self.start),
            "end": iso_or_none(self.end),
            "durationS": self.duration_s,
            "ok": self.ok,
            "error": self.error,
            "state": self.state,
            "failures": self.failures,
            "more": self.more,
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
        for child in reader.worth_showing():
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
        self.span = Span("task", task.handler, task.id, began, state=str(task.state), failures=task.attempt)
        self.children: list[str] = []
        self._ends: dict[str, str] = {}
        self._run: Span | None = None
        self._wait: Span | None = None
        self._steps: dict[str, Span] = {}
        self._tries: Counter[str] = Counter()
        self._queued: Span | None = Span("queued", task.queue, task.id, began)
        self.span.children.append(self._queued)
        for event in events:
            self._take(event)

    def worth_showing(self) -> list[str]:
        """The children to show, in their order; the others are counted in the span."""
        if len(self.children) <= MAX_CHILDREN:
            return self.children
        telling = sorted(self.children, key=lambda child: self._ends.get(child) == "succeeded")  # stable
        shown = set(telling[:MAX_CHILDREN])
        others = Counter(self._ends.get(child, "not ended") for child in self.children if child not in shown)
        self.span.more = dict(others)
        return [child for child in self.children if child in shown]

    def _take(self, event: Event) -> None:
        if event.type == "task.claimed":
            self._claimed(event)
        elif event.type == "step.started":
            self._began(event)
        elif event.type == "step.retry":
            self._tries[event.data["key"]] = event.data["try"]
        elif event.type == "child.ended":
            self._ends[event.data["child"]] = event.data["state"]
        elif event.type in ("step.done", "step.failed"):
            self._stepped(event)
        elif event.type == "timer.set":
            self._slept(event)
        elif event.type == "child.spawned":
            self.children.append(event.data["child"])
        elif event.type in _ENDS_RUN:
            self._close_run(event, None if event.type == "task.waiting" else event.data.get("error") is None)
            self._parked(event)
        elif event.type in _ENDS_TASK:
            self._ended(event)

    def _claimed(self, event: Event) -> None:
        if self._queued is not None:
            self._queued.end, self._queued.ok, self._queued = event.time, True, None
        self._close_wait(event)
        if self._run is not None:  # its worker died: nobody wrote when
            self._close_run(event, False)
        self._run = Span("run", str(event.data.get("worker", "")), self.span.task, event.time)
        self.span.children.append(self._run)

    def _stepped(self, event: Event) -> None:
        data = event.data
        start = event.time - timedelta(seconds=float(data.get("duration_s") or 0.0))
        span = self._steps.pop(data["key"], None)
        if span is None:
            span = Span("step", data["name"], self.span.task, start, key=data["key"])
            (self._run or self.span).children.append(span)
        span.end, span.ok, span.error = event.time, event.type == "step.done", data.get("error")
        span.failures = self._tries.pop(data["key"], 0)

    def _began(self, event: Event) -> None:
        """A `once` effect tells that it begins; of others the end is the first that is known."""
        data = event.data
        self._steps[data["key"]] = Span("step", data["name"], self.span.task, event.time, key=data["key"])
        (self._run or self.span).children.append(self._steps[data["key"]])

    def _parked(self, event: Event) -> None:
        """A task that stands still: for what, and until when. Sleeps have spans of their own."""
        what = event.data.get("for") if event.type == "task.waiting" else _STANDS.get(event.type)
        if what and what != "time":
            self._wait = Span("wait", str(what), self.span.task, event.time)
            self.span.children.append(self._wait)

    def _close_wait(self, event: Event) -> None:
        if self._wait is not None:
            self._wait.end, self._wait.ok, self._wait = event.time, True, None

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
        self._close_wait(event)
        if self._queued is not None:
            self._queued.end, self._queued = event.time, None
        self.span.end, self.span.ok, self.span.error = event.time, ok, event.data.get("error")


def seconds_in_words(seconds: float) -> str:
    """ "12 ms", "3.4 s", "5 min 20 s", "3 h 5 min", "2 d 4 h"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for name, size, lower, part in (("min", 60, "s", 1), ("h", 3600, "min", 60), ("d", 86400, "h", 3600)):
        if name == "d" or seconds < size * (60 if name == "min" else 24):
            whole, rest = divmod(round(seconds), size)
            return f"{whole} {name} {rest // part} {lower}"
    raise AssertionError("a day has no upper end")
