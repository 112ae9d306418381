"""Why a task does not go on, or what it does: read from its record, its journal, and what others have told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock, iso_or_none
from opspawn.contracts.events import Event
from opspawn.contracts.seeing import Wait, Why
from opspawn.contracts.store import Store, Task, TaskState
from opspawn.errors import NotFound
from opspawn.ops.engine.doubts import open_doubts
from opspawn.ops.run.history import History
from opspawn.ops.traces import seconds_in_words
from opspawn.ops.why.due import what_keeps
from opspawn.ops.why.parked import what_for

_SIGNS = ("step.done", "step.failed", "step.started", "step.retry", "child.spawned", "timer.set", "task.progress")


async def why(store: Store, id: str, clock: Clock = SYSTEM_CLOCK) -> Why:
    """What a task waits for, and when that ends. Raises: NotFound."""
    task = await store.get_task(id)
    if task is None:
        raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
    now = datetime.fromtimestamp(clock.time(), UTC)
    return Why(task.id, task.handler, str(task.state), await _waits(store, task, now))


async def _waits(store: Store, task: Task, now: datetime) -> Sequence[Wait]:
    if task.state.terminal:
        return [_ended(task)]
    if task.state is TaskState.PAUSED:
        return [_paused(task)]
    if task.state is TaskState.IN_DOUBT:
        return _doubts(task)
    events = await store.journal(task.id)
    history = History()
    history.absorb(events)
    if task.state is TaskState.RUNNING:
        if task.due is not None and task.due <= now:
            return [_lost(task, now), *await what_keeps(store, task, events, history, now)]
        return [_running(task, events, history, now)]
    is_due = task.due is not None and task.due <= now
    if task.state is TaskState.WAITING and not is_due:
        return await what_for(store, task, events, history, now)
    return await what_keeps(store, task, events, history, now)


def _ended(task: Task) -> Wait:
    took = None if task.ended is None or task.created is None else (task.ended - task.created).total_seconds()
    how = f": {(task.error or {}).get('message')}" if task.state is TaskState.FAILED else ""
    after = "" if took is None else f", {seconds_in_words(took)} after it was accepted"
    verb = "was" if task.state is TaskState.CANCELLED else "has"
    remedy = None if task.state is TaskState.SUCCEEDED else f"Run it again with: opspawn tasks retry {task.id}"
    return Wait("ended", f"It waits for nothing: it {verb} {task.state}{after}{how}".rstrip(".") + ".", remedy=remedy)


def _paused(task: Task) -> Wait:
    error = task.error or {}
    what = f"It is paused: {str(error.get('message') or 'on request').rstrip('.')}."
    if task.deadline is not None:
        what += f" It fails at its deadline, {task.deadline:%Y-%m-%d %H:%M:%S} UTC, all the same."
    root = error.get("with") or task.id
    return Wait("paused", what, remedy=f"Let it go on with: opspawn tasks resume {root}", details={"error": error})


def _doubts(task: Task) -> list[Wait]:
    found = []
    doubts = open_doubts(task)
    for doubt in doubts:
        step = f" --step {doubt['key']}" if len(doubts) > 1 else ""
        remedy = f"Look at the world, then: opspawn tasks resolve {task.id}{step} --happened | --not-happened | ..."
        what = f"Step {doubt['key']!r} is in doubt: {doubt['name']!r} began, and nobody knows whether it happened."
        found.append(Wait("doubt", what, remedy=remedy, details={"key": doubt["key"], "name": doubt["name"]}))
    return found


def _lost(task: Task, now: datetime) -> Wait:
    assert task.due is not None
    ago = seconds_in_words((now - task.due).total_seconds())
    what = f"Its worker {task.owner} is gone: the lease ended {ago} ago. The next worker that looks goes on with it."
    return Wait("lost", what, details={"worker": task.owner})


def _running(task: Task, events: Sequence[Event], history: History, now: datetime) -> Wait:
    claimed = next((event for event in reversed(events) if event.type == "task.claimed"), None)
    since = claimed.time if claimed is not None else task.updated
    words = [f"It runs on worker {task.owner}"]
    if since is not None:
        words[0] += f" for {seconds_in_words((now - since).total_seconds())}"
    words[0] += f"; {_doing(events, history, now)}."
    if history.cancel_requested:
        words.append("Somebody asked to cancel it.")
    elif history.pause_requested:
        words.append("Somebody asked to pause it, which it does at its next step.")
    details = {
        "worker": task.owner,
        "leaseUntil": iso_or_none(task.due),
        "failures": task.attempt,
        "step": _step(events, history),
    }
    return Wait("running", " ".join(words), details={name: value for name, value in details.items() if value})


def _doing(events: Sequence[Event], history: History, now: datetime) -> str:
    for key, intent in history.doubts.items():
        ago = "" if intent.began is None else f" for {seconds_in_words((now - intent.began).total_seconds())}"
        return f"the step {key!r} ({intent.name}) is in flight{ago}"
    last = _last_sign(events)
    if last is None:
        return "it has recorded no step yet"
    ago = seconds_in_words((now - last.time).total_seconds())
    name = last.data.get("key") or last.data.get("note")
    done = {"step.done": "done", "step.failed": "failed", "step.retry": "tried in vain", "timer.set": "set"}
    return f"the last that it recorded is {name!r}, {done.get(last.type, 'recorded')} {ago} ago"


def _last_sign(events: Sequence[Event]) -> Event | None:
    return next((event for event in reversed(events) if event.type in _SIGNS), None)


def _step(events: Sequence[Event], history: History) -> str | None:
    """The step that is surely in flight, else the last one that was recorded."""
    last = _last_sign(events)
    return next(iter(history.doubts), None if last is None else last.data.get("key"))
