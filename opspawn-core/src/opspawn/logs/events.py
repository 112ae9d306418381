"""Journal events as log lines: for `opspawn logs`, and for whoever follows along."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from opspawn.config.secrets import masked
from opspawn.contracts.clock import iso
from opspawn.contracts.events import Event
from opspawn.logs.writing import json_line, log_object, text_line

if TYPE_CHECKING:
    from loguru import Record

Data = Mapping[str, Any]

# Small facts worth their own key. Inputs, arguments and results stay in the journal: they are large, and private.
_FACTS = (
    "handler",
    "worker",
    "deliveries",
    "try",
    "delay_s",
    "duration_s",
    "key",
    "kind",
    "name",
    "child",
    "state",
    "outcome",
    "until",
)


def event_line(event: Event) -> dict[str, Any]:
    """Return an event as a log object: the keys of every log line, then `type`, `position` and small facts.

    Its message is a sentence for people. Events of types unknown here carry all their data under `data`.
    """
    say = _MESSAGES.get(event.type)
    extra: dict[str, Any] = {
        "agent": event.agent,
        "session": event.session,
        "task": event.task,
        "attempt": event.data.get("attempt"),
        "error_type": event.error_type,
    }
    extra |= {"type": event.type, "position": event.position}
    if "$payload" in event.data:  # too large for a page of events, and so for a line
        message = f"{event.type} with {event.data.get('bytes')} bytes of data."
        extra["data"] = event.data
    elif say is None:
        message = event.type.removeprefix("custom.")
        extra["data"] = masked(event.data)
    else:
        message = say(event.data)
        extra |= {key: event.data[key] for key in _FACTS if event.data.get(key) is not None}
    return log_object(event.time, event.level, message, extra)


def log_event(event: Event) -> None:
    """Log an event among the other lines of this process, at its own level and time."""
    line = event_line(event)
    rest = {key: value for key, value in line.items() if key not in ("time", "level", "message")}

    def at_its_time(record: Record) -> None:
        record["time"] = event.time

    logger.bind(**rest).patch(at_its_time).log(str(line["level"]).upper(), "{}", line["message"])


def write_event(event: Event, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Write an event as data, on stdout by default: as a JSON line, or as text for people, coloured on a terminal."""
    target = stream or sys.stdout
    line = event_line(event)
    colour = target.isatty() and not os.environ.get("NO_COLOR")
    print(json_line(line) if as_json else text_line(line, colour=colour, date=True), file=target, flush=True)


def _accepted(data: Data) -> str:
    return f"Accepted {data.get('handler', 'a task')}."


def _claimed(data: Data) -> str:
    lost = data.get("deliveries") or 0
    again = f", after {lost} lost claim{'s' if lost > 1 else ''}" if isinstance(lost, int) and lost > 0 else ""
    return f"Taken by worker {data.get('worker', '?')}{again}."


def _waiting(data: Data) -> str:
    return f"Waiting for {_waited(data['for'])}; holds no slot." if data.get("for") else "Waiting; holds no slot."


def _waited(what: Any) -> str:
    if isinstance(what, Mapping):
        return ", ".join(f"{key} {value}" for key, value in what.items())
    return ", ".join(map(str, what)) if isinstance(what, list | tuple) else str(what)


def _retry(data: Data) -> str:
    where = f" at step {data['key']!r}" if data.get("key") else ""
    return (
        f"Attempt {data.get('attempt', '?')} failed{where}: {_error(data)} Next try in {_seconds(data.get('delay_s'))}."
    )


def _schedule(data: Data) -> str:
    return repr(data.get("schedule", "?"))


def _by(data: Data) -> str:
    return f" by {data['by']}" if data.get("by") else ""


def _progress(data: Data) -> str:
    share = f" {data['done']:g} of {data['total']:g}" if data.get("done") is not None and data.get("total") else ""
    return f"Progress{share}: {data['note']}" if data.get("note") else f"Progress{share}."


def _step(data: Data) -> str:
    names = {"think": "Model call", "act": "Tool call", "tool": "Tool call", "call": "Tool call"}
    kind = names.get(str(data.get("kind")), "Step")
    name = data.get("name")
    return f"{kind} {name!r}" if name and name != data.get("kind") else f"{kind} {data.get('key', '')!r}"


def _step_retry(data: Data) -> str:
    return f"Step {data.get('key', '?')!r}: try {data.get('try', '?')} failed: {_error(data)} It will be tried again."


def _child_ended(data: Data) -> str:
    tail = f": {_error(data)}" if data.get("error") else "."
    return f"Child {data.get('child', '?')} ended, {data.get('state', 'in an unknown state')}{tail}"


def _resolved(data: Data) -> str:
    who = data.get("by") or "Somebody"
    return f"{who} decided about step {data.get('key', '?')!r}: {data.get('outcome', '?')}."


def _timer(data: Data) -> str:
    until = data.get("until")
    return (
        f"Sleeping until {iso(datetime.fromtimestamp(until, UTC))}." if isinstance(until, int | float) else "Sleeping."
    )


def _amounts(data: Data) -> str:
    return (
        ", ".join(
            f"{data[name]} {words}" for name, words in (("tokens", "tokens"), ("usd", "US dollars")) if data.get(name)
        )
        or "nothing"
    )


def _budget_raised(data: Data) -> str:
    limits = data.get("limits")
    words = [
        f"{name} without limit" if more is None else f"{more} more {name}"
        for name, more in (limits.items() if isinstance(limits, Mapping) else ())
    ]
    model = f" The model {data['model']!r} goes on." if data.get("model") else ""
    return f"The budget was raised{_by(data)}: {', '.join(words) or '?'}.{model}"


def _error(data: Data) -> str:
    error = data.get("error")
    text = error.get("message") or error.get("type") if isinstance(error, Mapping) else error
    text = str(text or "no message")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _took(data: Data) -> str:
    return f" in {_seconds(data['duration_s'])}" if isinstance(data.get("duration_s"), int | float) else ""


def _seconds(value: Any) -> str:
    if not isinstance(value, int | float):
        return "a while"
    return f"{value * 1000:.0f} ms" if 0 < value < 1 else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _plan_by(data: Data) -> str:
    number = data.get("number", "?")
    return f"Plan {number}, changed by {data['by']}" if data.get("by") else f"Plan {number}"


def _plan_steps(data: Data) -> str:
    plan = data.get("plan")
    steps = plan.get("steps") if isinstance(plan, Mapping) else None
    names = [f"{step.get('id')} ({step.get('tool') or 'think'})" for step in steps or () if isinstance(step, Mapping)]
    return ", ".join(names) or "no steps"


def _agent_state(data: Data) -> str:
    state, before, reported = (data.get(name) for name in ("state", "before", "reported"))
    if data.get("late"):
        return f"The agent reported {reported} too late to count; it is {state}."
    if reported is not None:
        return f"The agent reported {reported}; it stays {state}."
    return f"The agent went from {before or 'unknown'} to {state or 'unknown'}."


_MESSAGES: dict[str, Callable[[Data], str]] = {
    "task.accepted": _accepted,
    "task.claimed": _claimed,
    "task.waiting": _waiting,
    "task.released": lambda data: "Given back by a worker that stops; another goes on.",
    "task.retry": _retry,
    "task.succeeded": lambda data: "Succeeded.",
    "task.failed": lambda data: f"Failed: {_error(data)}",
    "task.cancelled": lambda data: "Cancelled.",
    "task.paused": lambda data: f"Paused, an operator must look: {_error(data)}",
    "task.in_doubt": lambda data: (
        f"In doubt: {data.get('name', 'a step')!r} began, and nobody knows whether it happened. "
        "See 'opspawn tasks show'."
    ),
    "task.resolved": _resolved,
    "agent.handoff": lambda data: f"{data.get('from', '?')!r} hands the conversation over to {data.get('to', '?')!r}.",
    "agent.compacted": lambda data: (
        f"The conversation was too long, about {data.get('tokens', '?')} tokens; the model is shown "
        f"{data.get('left', '?')} ({data.get('how', 'compacted')})."
    ),
    "store.went_back": lambda data: "The store has lost what it had confirmed. See 'opspawn doctor'.",
    "store.acknowledged": lambda data: f"{data.get('by', 'Somebody')} has judged what the store lost.",
    "memory.failed": lambda data: f"The memory could not be used ({data.get('what', '?')}): {_error(data)}",
    "cancel.requested": lambda data: "Somebody asked to cancel.",
    "child.spawned": lambda data: f"Started child {data.get('child', '?')}.",
    "child.ended": _child_ended,
    "step.started": lambda data: f"{_step(data)} begins; it must not happen twice.",
    "step.done": lambda data: f"{_step(data)} done{_took(data)}.",
    "step.failed": lambda data: f"{_step(data)} failed{_took(data)}: {_error(data)}",
    "step.retry": _step_retry,
    "call.noted": lambda data: f"{_step(data)} put something down, in case that it is made again.",
    "tool.refused": lambda data: f"Call of {data.get('name', '?')!r} refused: {data.get('words', '?')}",
    "listener.disabled": lambda data: f"The listener {data.get('listener', '?')!r} is switched off: {_error(data)}",
    "timer.set": _timer,
    "task.fallback": lambda data: f"No attempt is left; {data.get('handler', 'a fallback')} is asked: {_error(data)}",
    "task.isolated": lambda data: "It ended its workers several times; it is run alone, in a process of its own.",
    "task.blocking": lambda data: f"Its code blocks the event loop, for {_seconds(data.get('seconds'))} so far.",
    "task.resumed": lambda data: f"Resumed{_by(data)}.",
    "task.progress": _progress,
    "pause.requested": lambda data: f"Asked to pause{_by(data)}.",
    "signal.received": lambda data: f"Signal {data.get('name', '?')!r} came{_by(data)}.",
    "signal.awaited": lambda data: f"Waiting for a signal at {data.get('key', '?')!r}, but not for ever.",
    "question.asked": lambda data: f"Question {data.get('question', '?')}: {data.get('text', '?')}",
    "question.answered": lambda data: f"Question {data.get('question', '?')} was answered{_by(data)}.",
    "policy.denied": lambda data: f"{data.get('name', '?')} is not allowed{_by(data)}: {data.get('reason', '?')}",
    "approval.used": lambda data: f"Step {data.get('key', '?')} begins, approved{_by(data)}.",
    "usage.reserved": lambda data: f"Step {data.get('key', '?')} may use {_amounts(data)}.",
    "usage.unknown": lambda data: f"Step {data.get('key', '?')} was cut off; it is charged {_amounts(data)}.",
    "budget.raised": _budget_raised,
    "question.expired": lambda data: f"Nobody answered question {data.get('question', '?')} in time.",
    "agent.registered": lambda data: f"The agent was registered{' again' if data.get('again') else ''}.",
    "agent.deregistered": lambda data: f"The agent was deregistered; it was {data.get('state', 'unknown')}.",
    "plan.made": lambda data: f"{_plan_by(data)}: {_plan_steps(data)}.",
    "agent.answered": lambda data: f"The agent ended: {data.get('reason', '?')}.",
    "agent.state": _agent_state,
    "session.started": lambda data: "The session began.",
    "session.updated": lambda data: f"The session was updated; it is {data.get('state', 'as it was')}.",
    "schedule.added": lambda data: f"The schedule {_schedule(data)} was made.",
    "schedule.changed": lambda data: f"The schedule {_schedule(data)} was changed.",
    "schedule.paused": lambda data: f"The schedule {_schedule(data)} is paused.",
    "schedule.resumed": lambda data: f"The schedule {_schedule(data)} goes on.",
    "schedule.removed": lambda data: f"The schedule {_schedule(data)} was removed.",
    "schedule.fired": lambda data: f"The time of the schedule {_schedule(data)} came: task {data.get('task', '?')}.",
    "schedule.skipped": lambda data: f"A time of the schedule {_schedule(data)} was left out: {data.get('why', '?')}.",
    "schedule.failed": lambda data: f"Nothing came of the schedule {_schedule(data)}: {_error(data)}",
    "workflow.created": lambda data: f"Workflow {data.get('workflow', '?')!r} was stored.",
}
