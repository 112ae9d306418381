"""The moves of a task's state machine, each as the batch that makes it.

    queued → running → succeeded | failed | cancelled        running → waiting → running
    running → in_doubt → queued                              queued | waiting | running → paused → queued

A worker makes a move by a fenced `Put` of the task together with the event that tells of it; the parent of a task that
ended gets an inbox event and a wake in the same commit. Whoever is not the claimer never writes a started task: it
sends an inbox event.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from opspawn.contracts.clock import iso
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation, Put, Task, TaskState, Wake
from opspawn.ops.ids import agent_of, derived_id
from opspawn.ops.retry_plans import Plan, plan_of

#: Children that one commit can tell of a cancel, two operations each, with room for the rest.
CHILDREN_PER_BATCH = 200


def accept(
    task: Task, delay_s: float = 0.0, deadline_s: float | None = None, *, follows: str | None = None
) -> list[Operation]:
    """A new task, due after `delay_s` seconds, which must have ended after `deadline_s`. `follows` names the dead task
    that it was asked about.
    """
    body: dict[str, Any] = {"handler": task.handler, "input": task.input}
    if follows is not None:
        body["fallback_of"] = follows
    if task.retry_of is not None:
        body["retry_of"] = task.retry_of
    if plan_of(task).from_scratch:
        body["from_scratch"] = True
    if delay_s > 0:
        body["delay_s"] = delay_s
    if deadline_s is not None:
        body["deadline_s"] = deadline_s
    put = Put(task, expect=0, due_in_s=delay_s, deadline_in_s=deadline_s)
    return [put, Append(task.id, NewEvent("task.accepted", body))]


#: What the next generation is to the task before it.
AGAIN = "again"


def next_generation(task: Task, plan: Plan) -> Task:
    """The task that tries an ended one again. Its id derives from the old one's, so that there is only one."""
    fresh = successor(task, derived_id(task.id, AGAIN), task.handler, task.input)
    fresh = fresh.but(agent=task.agent, timeout_s=task.timeout_s, holds=task.holds)
    return fresh.but(retry=plan.to_json(), retry_of=task.id)


def successor(task: Task, id: str, handler: str, input: Any) -> Task:
    """A task of its own that follows an ended one: in its place and session, with its labels."""
    return Task(
        id=id,
        handler=handler,
        root=id,
        queue=task.queue,
        priority=task.priority,
        agent=agent_of(handler) or task.agent,
        session=task.session,
        input=input,
        labels=task.labels,
        strict=task.strict,
    )


def succeed(task: Task, result: Any) -> list[Operation]:
    """The run returned."""
    done = task.but(state=TaskState.SUCCEEDED, result=result, error=None)
    return [*_end(done, NewEvent("task.succeeded"))]


def as_ended(task: Task, time: datetime) -> Task:
    """The record of a worker's terminal move as its commit, at `time`, left it."""
    return task.but(version=task.version + 1, token=task.token + 1, owner=None, due=None, updated=time, ended=time)


def fail(task: Task, error: dict[str, Any], attempt: int) -> list[Operation]:
    """The run failed, and no attempt is left; `attempt` counts those that failed."""
    dead = task.but(state=TaskState.FAILED, error=error, attempt=attempt)
    data = {"error": error, "attempt": dead.attempt}
    return [*_end(dead, NewEvent("task.failed", data, level="error", error_type=error["type"]))]


def cancelled(task: Task) -> list[Operation]:
    """The run was unwound on request."""
    gone = task.but(state=TaskState.CANCELLED, error=None)
    return [*_end(gone, NewEvent("task.cancelled", level="warning"))]


def retry_later(task: Task, error: dict[str, Any], delay_s: float, key: str | None, wakes_seen: int) -> list[Operation]:
    """An attempt failed; another follows after `delay_s` seconds, or a request to cancel before.

    `key` is the step whose failure ended it.
    """
    again = _given_back(task).but(state=TaskState.WAITING, attempt=task.attempt + 1, error=error)
    data = {"error": error, "attempt": again.attempt, "delay_s": delay_s, "key": key}
    event = NewEvent("task.retry", data, level="warning", error_type=error["type"])
    put = Put(again, expect=task.version, token=task.token, due_in_s=delay_s, wakes_seen=wakes_seen)
    return [Append(task.id, event, task.token), put]


def await_fallback(task: Task, error: dict[str, Any], wakes_seen: int) -> list[Operation]:
    """No attempt is left, and the task waits for its fallback, a child."""
    asleep = _given_back(task).but(state=TaskState.WAITING, attempt=task.attempt + 1, error=error)
    put = Put(
        asleep, expect=task.version, token=task.token, due_in_s=None, wake_at=wakes_seen + 1, wakes_seen=wakes_seen
    )
    return [Append(task.id, NewEvent("task.waiting", {"for": "fallback"}, level="debug"), task.token), put]


def spawn(task: Task, child: Task, spawned: dict[str, Any]) -> list[Operation]:
    """A child is made; its parent's journal tells of it."""
    accepted = {"handler": child.handler, "input": child.input, "parent": task.id}
    if child.retry_of is not None:
        accepted["retry_of"] = child.retry_of
    return [
        Put(child, expect=0),
        Append(child.id, NewEvent("task.accepted", accepted)),
        Append(task.id, NewEvent("child.spawned", spawned), task.token),
    ]


def put_off(task: Task, error: dict[str, Any], delay_s: float, until: float, wakes_seen: int) -> list[Operation]:
    """A service asked to come back in `delay_s` seconds, at `until` in epoch seconds: that costs no attempt."""
    again = _given_back(task).but(state=TaskState.WAITING, error=error)
    data = {"error": error, "attempt": task.attempt, "delay_s": delay_s, "key": None, "until": until}
    event = NewEvent("task.retry", data, level="warning", error_type=error["type"])
    put = Put(again, expect=task.version, token=task.token, due_in_s=delay_s, wakes_seen=wakes_seen)
    return [Append(task.id, event, task.token), put]


def park(task: Task, due_in_s: float | None, wakes_seen: int, what: str, needs: int | None = 1) -> list[Operation]:
    """The run waits for `needs` more wakes (None: for none), an urgent one, or `due_in_s` seconds; it holds no slot."""
    asleep = _given_back(task).but(state=TaskState.WAITING)
    put = Put(
        asleep,
        expect=task.version,
        token=task.token,
        due_in_s=due_in_s,
        wake_at=None if needs is None else wakes_seen + needs,
        wakes_seen=wakes_seen,
    )
    return [Append(task.id, NewEvent("task.waiting", {"for": what}, level="debug"), task.token), put]


def release(
    task: Task, delay_s: float = 0.0, *, deliveries: int = 0, lacks: tuple[str, str] | None = None
) -> list[Operation]:
    """A worker gives the task back, since it stops or cannot go on; costs no attempt. `deliveries` remain counted;
    `lacks` is the kind and the name of what is not there.
    """
    back = _given_back(task).but(deliveries=deliveries)
    detail: dict[str, Any] = {"deliveries": deliveries} if deliveries else {}
    if lacks is not None:
        detail["lacks"] = {"kind": lacks[0], "name": lacks[1]}
    return [
        Append(task.id, NewEvent("task.released", detail), task.token),
        Put(back, expect=task.version, token=task.token, due_in_s=delay_s),
    ]


def halt(task: Task, state: TaskState, error: dict[str, Any], detail: dict[str, Any]) -> list[Operation]:
    """The task goes to `paused` or `in_doubt` and waits for a human."""
    stopped = task.but(state=state, error={**error, **detail}, deliveries=0)
    event = NewEvent(f"task.{state}", {"error": error, **detail}, level="warning", error_type=error["type"])
    return [
        Append(task.id, event, task.token),
        Put(stopped, expect=task.version, token=task.token, due_in_s=None),
    ]


def cancel(task: Task) -> list[Operation]:
    """Somebody who is not the claimer wants the end of a task; nothing to do for one that has ended.

    One that never started ends at once, one that halted is handed to a claimer, any other is told.
    """
    if task.state.terminal:
        return []
    if task.token == 0:  # never claimed, paused or not
        return cancelled(task)
    if task.state in (TaskState.RUNNING, TaskState.WAITING):
        return request_cancel(task.id)
    return [*request_cancel(task.id), Put(task.but(state=TaskState.QUEUED), expect=task.version)]


def pause(task: Task, by: str | None, root: str | None = None) -> list[Operation]:
    """An operator wants a task that has not ended to stand still; one that runs is asked, and does it at its next
    step. `root` is the task above it that was meant, if it was not this one.
    """
    told = _by(by, root)
    if task.state is TaskState.RUNNING:
        return [Append(task.id, NewEvent("pause.requested", told, level="warning")), Wake(task.id, urgent=True)]
    error = paused_error(by, root)
    if task.state is TaskState.QUEUED and task.due is not None:
        error["due"] = iso(task.due)  # what may not start yet may not do so after a pause either
    event = NewEvent("task.paused", {"error": error, **told}, level="warning")
    halted = task.but(state=TaskState.PAUSED, error=error)
    return [Append(task.id, event), Put(halted, expect=task.version, due_in_s=None)]


def paused(task: Task, by: str | None, root: str | None) -> list[Operation]:
    """The claimer of a task stopped on request."""
    stopped = _given_back(task).but(state=TaskState.PAUSED, error=paused_error(by, root))
    told = {"error": stopped.error, **_by(by, root)}
    return [
        Append(task.id, NewEvent("task.paused", told, level="warning"), task.token),
        Put(stopped, expect=task.version, token=task.token, due_in_s=None),
    ]


def _by(by: str | None, root: str | None = None) -> dict[str, Any]:
    return ({} if by is None else {"by": by}) | ({} if root is None else {"with": root})


def paused_error(by: str | None, root: str | None = None) -> dict[str, Any]:
    """Why a task is paused."""
    if root is not None:
        words = f"{by} paused {root}" if by else f"{root} was paused on request"
        return {"type": "paused", "message": f"{words}, and all that belongs to it.", "with": root}
    return {"type": "paused", "message": f"{by} paused it." if by else "It was paused on request."}


def resume(task: Task, by: str | None, delay_s: float = 0.0) -> list[Operation]:
    """A paused task goes on, after `delay_s` seconds."""
    back = task.but(state=TaskState.QUEUED, error=None)
    return [Append(task.id, NewEvent("task.resumed", _by(by))), Put(back, expect=task.version, due_in_s=delay_s)]


def call_off_pause(task: Task, by: str | None) -> list[Operation]:
    """A task that was asked to pause, and has not done it yet, just goes on."""
    return [Append(task.id, NewEvent("task.resumed", _by(by))), Wake(task.id)]


def overdue(task: Task) -> list[Operation]:
    """The time is up of a task that stands still: a claimer gets it, whatever its lane and its limits, and ends it."""
    if task.state is TaskState.PAUSED:
        return [*resume(task, "its deadline"), Wake(task.id, cancel=True)]
    return [Wake(task.id, urgent=True, cancel=True)]


def request_cancel(task: str) -> list[Operation]:
    """Ask the claimer of a task to unwind it; does nothing to a task that has ended.

    It is claimed for that even from the closed lane of a paused agent, and where its limits are full.
    """
    return [Append(task, NewEvent("cancel.requested", level="warning")), Wake(task, urgent=True, cancel=True)]


def request_cancels(tasks: Sequence[str]) -> list[list[Operation]]:
    """Ask for several, in batches that a store takes."""
    chunks = [tasks[i : i + CHILDREN_PER_BATCH] for i in range(0, len(tasks), CHILDREN_PER_BATCH)]
    return [[operation for task in chunk for operation in request_cancel(task)] for chunk in chunks]


def _given_back(task: Task) -> Task:
    return task.but(state=TaskState.QUEUED, deliveries=0)


def _end(task: Task, event: NewEvent) -> list[Operation]:
    """A terminal move: the event first, since a terminal task takes no more, and the news for the parent."""
    fence = task.token if task.owner is not None else None
    operations: list[Operation] = [
        Append(task.id, event, fence),
        Put(task, expect=task.version, token=fence, due_in_s=None),
    ]
    if task.parent is not None:
        told = {"child": task.id, "state": str(task.state), "result": task.result, "error": task.error}
        operations += [
            Append(task.parent, NewEvent("child.ended", told, level="debug")),
            Wake(task.parent, urgent=task.state is TaskState.FAILED),  # which may end a wait for many others
        ]
    return operations
