"""Pauses reach the whole tree under a task, and so does its going on.

What is paused with a task above it keeps that one's id, and goes on only with it, or when somebody resumes it itself;
what somebody had paused for itself before stays paused. A task that runs is asked, and stops at its next step: then it
pauses the children that it made meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Batch, EventQuery, Operation, Store, Task, TaskState
from opspawn.errors import Conflict
from opspawn.ops import transitions
from opspawn.ops.children import descendants
from opspawn.ops.run.history import History

_AT_ONCE = 100
_RACES = 10

#: What to do about a task; nothing for nothing.
Decide = Callable[[Task], Sequence[Operation]]


async def pause_below(store: Store, task: str, root: str, by: str | None, clock: Clock) -> list[Task]:
    """Let all that is under a task stand still, and return what was told; `root` is the task that somebody paused.

    If that one goes on meanwhile, so does what is under it. Raises: StoreError.
    """

    async def pause(child: Task) -> bool:
        if await ends_on_request(store, child.id):
            return False
        return await _change(store, child, lambda now: transitions.pause(now, by, root) if _may_pause(now) else [])

    told = await _each(store, task, pause)
    if told and not await _stands_still(store, root):  # whoever let it go on may have passed by before we came
        await resume_below(store, task, root, by, clock)
    return told


async def resume_below(store: Store, task: str, root: str, by: str | None, clock: Clock) -> list[Task]:
    """Let all that is under a task and was paused with `root` go on, and return what was told. Raises: StoreError."""

    async def resume(child: Task) -> bool:
        def decide(now: Task) -> Sequence[Operation]:
            mine = now.state is TaskState.PAUSED and (now.error or {}).get("with") == root
            return transitions.resume(now, by, rest_s(now, clock)) if mine else []

        if child.state is TaskState.PAUSED:
            return await _change(store, child, decide)
        if await pause_asked(store, child.id) != root:
            return False
        await store.commit(Batch(transitions.call_off_pause(child, by)))
        return await _change(store, child, decide) or True  # it may just have paused itself

    return await _each(store, task, resume)


async def pause_asked(store: Store, task: str) -> str | None:
    """Whether a task is asked to pause and has not done it: the task that was meant, this one or one above it."""
    history = History()
    history.absorb(await store.journal(task))
    return (history.paused_with or task) if history.pause_requested else None


async def _stands_still(store: Store, task: str) -> bool:
    found = await store.get_task(task)
    if found is None or found.state is TaskState.PAUSED:
        return True
    return await pause_asked(store, task) is not None


async def ends_on_request(store: Store, task: str) -> bool:
    """Whether somebody asked to cancel a task: a pause would only keep it from its end."""
    return bool(await store.events(EventQuery(task=task, types=("cancel.requested",), limit=1)))


async def undo_if_called_off(store: Store, task: str, after: int, clock: Clock) -> None:
    """A task has paused itself: if somebody called that off just before its commit, it goes on at once.

    `after` is the position of its journal up to which the task had looked. Raises: StoreError.
    """
    events = await store.journal(task, after)
    types = [event.type for event in events]
    if "task.resumed" not in types or "task.paused" not in types[types.index("task.resumed") :]:
        return
    found = await store.get_task(task)
    if found is None or found.state is not TaskState.PAUSED:
        return
    root = (found.error or {}).get("with") or task
    by = events[types.index("task.resumed")].data.get("by")
    await _change(store, found, lambda now: transitions.resume(now, by) if now.state is TaskState.PAUSED else [])
    await resume_below(store, task, root, by, clock)


def rest_s(task: Task, clock: Clock) -> float:
    """How long a paused task had to wait for its earliest start, in seconds from now."""
    due = (task.error or {}).get("due")
    return 0.0 if due is None else max(0.0, datetime.fromisoformat(due).timestamp() - clock.time())


def _may_pause(task: Task) -> bool:
    return not task.state.terminal and task.state not in (TaskState.PAUSED, TaskState.IN_DOUBT)


async def _each(store: Store, task: str, act: Callable[[Task], Awaitable[bool]]) -> list[Task]:
    """Those under a task for which `act` said that it did something."""
    told: list[Task] = []
    async for found in descendants(store, task):
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            done = await asyncio.gather(*map(act, some))
            told += [child for child, was_told in zip(some, done, strict=True) if was_told]
    return told


async def _change(store: Store, task: Task, decide: Decide) -> bool:
    """Decide and commit, again when somebody else was faster; whether there was something to do."""
    for _ in range(_RACES):
        now = await store.get_task(task.id)
        operations = [] if now is None else decide(now)
        if not operations:
            return False
        try:
            await store.commit(Batch(operations))
        except Conflict:
            continue
        return True
    return False
