"""Why nobody takes a task that is queued, or that could go on: its time, its lane, its limits, its workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from opspawn.contracts.events import Event
from opspawn.contracts.lifecycle import AgentState
from opspawn.contracts.seeing import Wait, WorkerInfo
from opspawn.contracts.store import Hold, Query, Store, Task, TaskState
from opspawn.ops.agents.records import KIND as AGENT
from opspawn.ops.agents.records import Kept
from opspawn.ops.presence import workers
from opspawn.ops.retry_plans import plan_of
from opspawn.ops.run.history import History

#: How many tasks are looked at to find who holds a limit.
_LOOKED_AT = 2000
_NAMED = 5


async def what_keeps(
    store: Store, task: Task, events: Sequence[Event], history: History, now: datetime
) -> Sequence[Wait]:
    """Everything that keeps a task from being claimed now; if nothing does, that it is its turn soon."""
    if task.due is not None and task.due > now:
        return [_not_yet(task, events)]
    found = [wait for wait in (await _generation(store, task), await _lane(store, task)) if wait is not None]
    if not history.cancel_requested:  # such a task needs no free place
        found += [wait for hold in task.holds if (wait := await _limit(store, task, hold)) is not None]
    found += _workers(task, [worker for worker in await workers(store) if worker.alive(now)])
    return found or [Wait("turn", "It is due, and a worker that offers it has free slots: it is taken in its turn.")]


def _not_yet(task: Task, events: Sequence[Event]) -> Wait:
    last = next((event for event in reversed(events) if event.type.startswith("task.")), None)
    until = "" if task.due is None else f"{task.due:%Y-%m-%d %H:%M:%S} UTC"
    if last is not None and (lacks := last.data.get("lacks")) and last.type == "task.released":
        what = f"The worker that took it last has no {lacks['kind']} {lacks['name']!r}; it is offered again at {until}."
        remedy = f"Start a worker whose app has the {lacks['kind']}; see 'opspawn workers'."
        return Wait("worker", what, task.due, remedy=remedy, details=lacks)
    if last is not None and last.type == "task.released":
        return Wait("delay", f"A worker gave it back; it is taken again from {until} on.", task.due)
    return Wait("delay", f"It starts no sooner than {until}, as it was asked for.", task.due)


async def _generation(store: Store, task: Task) -> Wait | None:
    if task.retry_of is None or plan_of(task).from_scratch:
        return None
    older = await store.get_task(task.retry_of)
    if older is None or older.state.terminal:
        return None
    what = f"It tries {older.id} again, which has not ended yet: that {older.state.words}."
    return Wait("generation", what, remedy=f"See: opspawn tasks why {older.id}", details={"task": older.id})


async def _lane(store: Store, task: Task) -> Wait | None:
    kind, _, name = task.handler.partition("/")
    if kind not in ("agent", "remote"):
        return None
    record = await store.get(AGENT, name)
    if record is None:
        if kind == "agent":
            return None
        return Wait("lane", f"The agent {name!r} is not registered any more.", remedy="Register it again.")
    kept = Kept.of(record)
    if kept.served:
        return None
    said = dict(kept.pause_details or {}) if kept.paused is not None else dict(kept.details or {})
    why = f" ({', '.join(f'{key}: {value}' for key, value in said.items())})" if said else ""
    since = kept.paused or kept.timestamp
    when = f" since {since:%Y-%m-%d %H:%M:%S} UTC" if since is not None else ""
    remedy = f"Let it work with: opspawn agents resume {name}"
    if kept.shown is not AgentState.PAUSED and kind == "remote":
        remedy = "It must report idle."
    what = f"The agent {name!r} gets no tasks: it is {kept.shown}{when}{why}."
    return Wait("lane", what, remedy=remedy, details={"agent": name, "state": str(kept.shown), "details": said})


async def _limit(store: Store, task: Task, hold: Hold) -> Wait | None:
    holders = await _holders(store, task, hold)
    if len(holders) < hold.limit:
        return None
    named = ", ".join(holders[:_NAMED]) + (f" and {len(holders) - _NAMED} more" if len(holders) > _NAMED else "")
    if hold.key.startswith("schedule/"):
        what = f"The tasks of the schedule {hold.key.removeprefix('schedule/')!r} run one after the other: {named}."
        return Wait("limit", what, details={"key": hold.key, "limit": hold.limit, "holders": holders[:100]})
    what = f"The limit {hold.key!r} is full: {len(holders)} of {hold.limit}, held by {named}."
    return Wait("limit", what, details={"key": hold.key, "limit": hold.limit, "holders": holders[:100]})


async def _holders(store: Store, task: Task, hold: Hold) -> list[str]:
    found: list[str] = []
    for state in (TaskState.RUNNING, TaskState.WAITING, TaskState.PAUSED, TaskState.IN_DOUBT, TaskState.QUEUED):
        cursor, seen = None, 0
        while seen < _LOOKED_AT:
            page = await store.find_tasks(Query(where={"state": str(state)}, limit=200, cursor=cursor))
            seen += len(page.items)
            found += [other.id for other in page.items if other.id != task.id and _holds(other, hold.key)]
            if (cursor := page.cursor) is None:
                break
    return found


def _holds(task: Task, key: str) -> bool:
    """Whether it has a place: while it runs, or from its first claim to its end."""
    own = next((hold for hold in task.holds if hold.key == key), None)
    return own is not None and (task.state is TaskState.RUNNING or (own.while_ == "unfinished" and task.token > 0))


def _workers(task: Task, alive: Sequence[WorkerInfo]) -> list[Wait]:
    able = [worker for worker in alive if worker.offers(task.queue, task.handler)]
    taking = [worker for worker in able if not worker.draining]
    if task.queue.startswith("run-"):
        remedy = f"Run it with: opspawn run --resume {task.root}"
        return [] if taking else [Wait("worker", "It belongs to a run in a terminal, which is over.", remedy=remedy)]
    if not alive:
        return [Wait("worker", "No worker is there.", remedy="Start one: opspawn serve, or opspawn worker.")]
    if not able:
        there = len(alive)
        what = f"None of the {there} workers offers {task.handler} in the queue {task.queue!r}."
        if there == 1:
            what = f"The only worker, {alive[0].id}, does not offer {task.handler} in the queue {task.queue!r}."
        remedy = "Start one whose app has it and which serves that queue; see 'opspawn workers'."
        return [Wait("worker", what, remedy=remedy, details={"handler": task.handler, "queue": task.queue})]
    if not taking:
        return [Wait("worker", "The workers that offer it are about to stop.", remedy="Start another.")]
    if all(worker.running >= worker.slots for worker in taking):
        slots = sum(worker.slots for worker in taking)
        what = f"All {slots} slots of the {len(taking)} worker{'s'[: len(taking) > 1]} that offer it were taken lately."
        return [Wait("slots", what, remedy="Wait, start more workers, or raise worker.slots.")]
    return []
