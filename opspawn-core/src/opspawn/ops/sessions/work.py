"""What the tasks of a session say about it: how far its work is, when it began and ended, what came out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from opspawn.contracts.lifecycle import SessionState
from opspawn.contracts.store import Query, Store, Task, TaskState

_LIVE = [state for state in TaskState if not state.terminal]
_LOOK_AT = 200
_STATES = {
    TaskState.SUCCEEDED: SessionState.COMPLETED,
    TaskState.FAILED: SessionState.ERROR,
    TaskState.CANCELLED: SessionState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Work:
    """`last` is the task that ended last, if all have ended; `first` the oldest that is known; `touched` is when one
    last changed."""

    state: SessionState
    first: Task
    last: Task | None = None
    touched: datetime | None = None

    @property
    def ended(self) -> datetime | None:
        return self.last.ended if self.last is not None else None


async def work_of(store: Store, session: str) -> Work | None:
    """What the tasks of a session say, or None if there are none.

    One that has not been claimed yet waits, the first claim makes it processing, and when all have ended the one that
    ended last decides; children count as part of the task that made them.
    """
    newest = await _tasks(store, session)
    if not newest:
        return None
    first = await _first(store, session, newest)
    touched = max((task.updated for task in newest if task.updated is not None), default=None)
    live = [task for task in newest if not task.state.terminal]
    if not live and len(newest) == _LOOK_AT:
        live = await _live(store, session)
    if live:
        waits = all(task.state is TaskState.QUEUED and task.token == 0 for task in live)
        begun = len(live) < len(newest) or not waits
        return Work(SessionState.PROCESSING if begun else SessionState.WAITING, first, None, touched)
    roots = [task for task in newest if task.parent is None]
    if not roots:
        root = await store.get_task(newest[0].root)
        roots = [root] if root is not None else newest[:1]
    last = max(roots, key=lambda task: task.ended or task.created or datetime.min)
    return Work(_STATES[last.state], first, last, touched)


async def unfinished(store: Store, session: str) -> list[Task]:
    """The tasks of a session that have not ended, those that no other task made first.

    Looks at all of its tasks: one that goes from state to state meanwhile would be missed by a look at each state.
    """
    found, cursor = list[Task](), None
    while True:
        page = await store.find_tasks(Query(where={"session": session}, limit=_LOOK_AT, cursor=cursor))
        found += [task for task in page.items if task.state in _LIVE]
        if (cursor := page.cursor) is None:
            return sorted(found, key=lambda task: task.parent is not None)


async def _live(store: Store, session: str) -> list[Task]:
    pages = await asyncio.gather(*(_tasks(store, session, state) for state in _LIVE))
    return [task for page in pages for task in page]


async def _tasks(store: Store, session: str, state: TaskState | None = None) -> list[Task]:
    where = {"session": session, **({"state": str(state)} if state is not None else {})}
    return list((await store.find_tasks(Query(where=where, limit=_LOOK_AT))).items)


async def _first(store: Store, session: str, newest: list[Task]) -> Task:
    if len(newest) == _LOOK_AT and session.startswith("s-"):
        # A session that a task opened has its id.
        opener = await store.get_task(f"t-{session.removeprefix('s-')}")
        if opener is not None:
            return opener
    return newest[-1]
