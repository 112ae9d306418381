"""Whether a chaos run kept every promise: its journals and records, its results, and what it did outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from opspawn.contracts.events import Event
from opspawn.contracts.store import Query, Record, Store, Task
from opspawn.testing.invariants import find_violations, read_everything

from . import effects as outside
from .people import Operator
from .plan import Job
from .power import Power

#: Faults after which a process may write late, or the times outside and in the store differ.
_LATE = frozenset({"F3", "F5", "F6", "F8", "F9", "F10", "F11", "F17", "F22"})
#: Faults by which no worker dies or loses a lease.
_GENTLE = frozenset({"F4", "F7", "F12", "F14", "F15", "F18", "F19", "F21"})


@dataclass(slots=True)
class Figures:
    """What the summary tells."""

    tasks: int = 0
    events: int = 0
    states: dict[str, int] = field(default_factory=dict)
    claims: int = 0
    lost: int = 0
    attempts: int = 0
    doubts: int = 0
    mismatches: int = 0
    lacking: int = 0
    opened: int = 0


async def judge(
    store: Store, folder: Path, jobs: Sequence[Job], faults: frozenset[str], operator: Operator, power: Power
) -> tuple[Figures, list[str]]:
    """The figures, and what is wrong, in sentences."""
    tasks, events = await read_everything(store)
    accepted = [job.id for job in jobs if job.id is not None]
    records = await _idempotency(store)
    found = [str(one) for one in find_violations(tasks, events, records=records, accepted=accepted, drained=True)]
    known = {task.id: task for task in tasks}
    for job in jobs:
        found += _check_end(job, known, operator.given_up)
    done = outside.read_effects(folder)
    found += outside.begun_too_often(done, operator.again)
    found += outside.changed_keys(done)
    found += _check_done(jobs, known, done)
    if not faults & _LATE:
        found += outside.repeated(done, _recorded(events))
        found += outside.crowded(done)
    if faults <= _GENTLE:
        found += _check_gentle(events)
    if "F17" in faults:
        found += _check_ticks(events)
    found += await power.check([(event.position, event.type) for event in events])
    return _count(tasks, events, power), found


async def _idempotency(store: Store) -> list[Record]:
    page = await store.find("idempotency", Query(limit=200))
    records = list(page.items)
    while page.cursor is not None:
        page = await store.find("idempotency", Query(limit=200, cursor=page.cursor))
        records += page.items
    return records


def _check_end(job: Job, known: Mapping[str, Task], given_up: set[str]) -> Iterator[str]:
    if job.id is None:
        yield f"accepted: a job ({job.kind}) was not accepted"
        return
    task = known.get(job.id)
    if task is None or (task.state == "cancelled" and (job.cancelled or job.id in given_up)):
        return  # missing ones are reported already
    if task.state != job.state:
        yield f"result: task {job.id} ({job.kind}) is {task.state}, not {job.state}: {task.error}"
    elif job.state == "failed" and (task.error or {}).get("type") != job.error_type:
        yield f"result: task {job.id} ({job.kind}) failed by {task.error}, not by {job.error_type}"


def _check_done(jobs: Sequence[Job], known: Mapping[str, Task], done: Sequence[outside.Effect]) -> Iterator[str]:
    happened = {(one.task, one.step) for one in done if one.what == "done"}
    for job in jobs:
        task = known.get(job.id or "")
        if task is None or task.state != "succeeded":
            continue
        if job.results is not None and not _is_among(task.result, job.results):
            yield f"result: task {task.id} ({job.kind}) has the result {str(task.result)[:200]}"
        for step in job.steps:
            if (task.id, step) not in happened:
                yield f"result: task {task.id} ({job.kind}) succeeded, and its step {step!r} never happened"


def _is_among(result: object, wanted: Sequence[object]) -> bool:
    if isinstance(result, dict) and "$payload" in result:
        return True  # a page shows a stand-in; the digest guards the value
    return result in wanted


def _recorded(events: Sequence[Event]) -> dict[tuple[str, str], float]:
    steps = (event for event in events if event.type == "step.done" and event.task is not None)
    return {(event.task or "", event.data["key"]): event.time.timestamp() for event in steps}


def _check_gentle(events: Sequence[Event]) -> Iterator[str]:
    """No worker died: no claim may have been lost."""
    for event in events:
        if event.type == "task.claimed" and event.data.get("deliveries"):
            yield f"refund: task {event.task} lost a claim at position {event.position}, and no worker had died"


def _check_ticks(events: Sequence[Event]) -> Iterator[str]:
    """A schedule of every second: from its first time on, none may be missing. That none comes twice is told by
    `find_violations`.
    """
    due = sorted(datetime.fromisoformat(event.data["due"]) for event in events if event.type == "schedule.fired")
    if len(due) < 2:
        yield f"schedule: it came {len(due)} times"
    for before, after in pairwise(due):
        if after - before > timedelta(seconds=1):
            yield f"schedule: nothing came between {before:%H:%M:%S} and {after:%H:%M:%S}"


def _count(tasks: Sequence[Task], events: Sequence[Event], power: Power) -> Figures:
    figures = Figures(tasks=len(tasks), events=len(events), opened=power.opened)
    for task in tasks:
        figures.states[task.state] = figures.states.get(task.state, 0) + 1
    running: set[str | None] = set()
    for event in events:
        if event.type == "task.claimed":
            figures.claims += 1
            figures.lost += event.task in running
            running.add(event.task)
        elif event.type.startswith("task.") and event.type not in ("task.progress", "task.isolated", "task.blocking"):
            running.discard(event.task)
        figures.attempts += event.type in ("task.retry", "task.failed")
        figures.doubts += event.type == "task.in_doubt"
        figures.lacking += event.type == "task.released" and "lacks" in event.data
        figures.mismatches += event.error_type == "journal_mismatch"
    return figures
