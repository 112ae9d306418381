"""What a task waits for that has parked: children, time, signals, answers, its next attempt, its fallback."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

from opspawn.contracts.events import Event
from opspawn.contracts.seeing import Wait
from opspawn.contracts.store import Store, Task
from opspawn.ops.question_records import KIND as QUESTION
from opspawn.ops.question_records import from_record
from opspawn.ops.run.history import RESTING, History

#: Of so many children it is looked up what they do.
_LOOKED_AT = 5


async def what_for(
    store: Store, task: Task, events: Sequence[Event], history: History, now: datetime
) -> Sequence[Wait]:
    """Everything that a parked task waits for; any of it may let it go on."""
    last = next((event for event in reversed(events) if event.type in ("task.waiting", "task.retry")), None)
    named = "" if last is None else str(last.data.get("for", ""))
    if last is not None and (last.type == "task.retry" or named == RESTING):
        return [_rests(task, events)]
    found = [wait async for wait in _questions(store, history)]
    found += _signals(task, named, history)
    found += _rates(task, named)
    if (children := await _children(store, task, history)) is not None:
        found.append(children)
    found += _timers(history, now)
    return found or [Wait("news", f"It waits for {named or 'news'}.", task.due)]


def _rests(task: Task, events: Sequence[Event]) -> Wait:
    retry = next((event for event in reversed(events) if event.type == "task.retry"), None)
    data = {} if retry is None else retry.data
    error = data.get("error") or task.error or {}
    until = f"{task.due:%Y-%m-%d %H:%M:%S} UTC" if task.due is not None else "soon"
    if data.get("until") is not None:
        what = f"A service asked to come back: {_sentence(error)} It goes on at {until}."
    else:
        what = f"Attempt {task.attempt} failed: {_sentence(error)} The next try is at {until}."
    details = {"failures": task.attempt, "errorType": error.get("type"), "step": data.get("key")}
    return Wait("backoff", what, task.due, details=details)


def _sentence(error: dict[str, object]) -> str:
    return f"{str(error.get('message') or error.get('type') or 'no message').rstrip('.')}."


async def _questions(store: Store, history: History) -> AsyncIterator[Wait]:
    for id in history.mail.open_questions:
        record = await store.get(QUESTION, id)
        if record is None:
            continue
        asked = from_record(record)
        to = f" to {asked.question.to}" if asked.question.to else ""
        what = f"The question {id}{to} is open: {asked.question.text}"
        details = {"question": id, "text": asked.question.text, "to": asked.question.to}
        remedy = f"Answer it with: opspawn questions answer {id} ..."
        if asked.question.kind == "approval":
            remedy = f"Decide with: opspawn approvals approve {id}, or opspawn approvals deny {id}"
        yield Wait("question", what, asked.expires, remedy, details)


def _signals(task: Task, named: str, history: History) -> Iterator[Wait]:
    until = {
        wait.name.removeprefix("wait "): datetime.fromtimestamp(wait.until, UTC)
        for key, wait in history.mail.waits.items()
        if key not in history.ends
    }
    for topic in named.split(", "):
        if topic.startswith("signal "):
            name = topic.removeprefix("signal ")
            remedy = f"Send it with: opspawn tasks signal {task.id} {shlex.quote(name)}"
            yield Wait("signal", f"It waits for the signal {name!r}.", until.get(name), remedy, {"name": name})


def _rates(task: Task, named: str) -> Iterator[Wait]:
    until = f"{task.due:%Y-%m-%d %H:%M:%S} UTC" if task.due is not None else "soon"
    for topic in named.split(", "):
        if topic.startswith("rate "):
            name, _, unit = topic.removeprefix("rate ").rpartition("/")
            what = f"The rate {name!r} is spent ({unit}); it is asked again at {until}."
            yield Wait("rate", what, task.due, details={"limit": name, "unit": unit})


async def _children(store: Store, task: Task, history: History) -> Wait | None:
    left = history.unfinished_children
    if not left:
        return None
    if history.fell_back:
        what = f"No attempt is left; its fallback {left[-1]} is asked."
        return Wait("fallback", what, remedy=f"See: opspawn tasks why {left[-1]}", details={"children": left[-1:]})
    told = []
    for id in left[:_LOOKED_AT]:
        child = await store.get_task(id)
        told.append(f"{id} ({'gone' if child is None else f'{child.handler}, {child.state}'})")
    more = f" and {len(left) - _LOOKED_AT} more" if len(left) > _LOOKED_AT else ""
    of = len(history.children)
    asked = ", which were asked to end" if history.unwinding or history.cancel_requested else ""
    what = f"{len(left)} of its {of} {'child has' if of == 1 else 'children have'} not ended{asked}: "
    what += f"{', '.join(told)}{more}."
    return Wait(
        "children",
        what,
        remedy=f"See: opspawn tasks why {left[0]}",
        details={"left": len(left), "of": of, "children": left[:100]},
    )


def _timers(history: History, now: datetime) -> Iterator[Wait]:
    for key, timer in history.timers.items():
        until = datetime.fromtimestamp(timer.until, UTC)
        if until > now:
            yield Wait("timer", f"It sleeps until {until:%Y-%m-%d %H:%M:%S} UTC.", until, details={"key": key})
    for key, tries in history.tries.items():
        if key not in history.ends and tries.until > now.timestamp():
            until = datetime.fromtimestamp(tries.until, UTC)
            what = f"Step {key!r} is tried again at {until:%Y-%m-%d %H:%M:%S} UTC, after {tries.failures} failures."
            yield Wait("backoff", what, until, details={"step": key})
