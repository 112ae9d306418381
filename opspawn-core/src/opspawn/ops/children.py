"""What is under a task: finding it, and ending it. Those that run are told, the others need nobody for that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from opspawn.contracts.store import Batch, Query, Store, Task, TaskState
from opspawn.errors import Conflict
from opspawn.ops import transitions

_AT_ONCE = 100
_LIVE = [state for state in TaskState if not state.terminal]
_TOLD = (TaskState.RUNNING, TaskState.WAITING)


async def descendants(store: Store, task: str) -> AsyncIterator[Sequence[Task]]:
    """The live tasks under a task: the children of one parent at a time, parents before their children.

    What is made meanwhile may be missed.
    """
    parents = [task]
    while parents:
        parent = parents.pop()
        if not (await store.find_tasks(Query(where={"parent": parent}, limit=1))).items:
            continue
        found = [child for state in _LIVE for child in await _all(store, {"parent": parent, "state": state})]
        if found:
            yield found
        parents += [child.id for child in found if child.token > 0]  # one that was never claimed has none


async def cancel_children(store: Store, children: Sequence[str], *, tell: bool) -> None:
    """Ask children to end; `tell` says whether those that run or wait still have to be told.

    Raises: StoreError: some were asked, perhaps; to ask again does no harm.
    """
    told: list[str] = []
    for start in range(0, len(children), _AT_ONCE):
        found = await asyncio.gather(*(store.get_task(child) for child in children[start : start + _AT_ONCE]))
        live = [task for task in found if task is not None and not task.state.terminal]
        told += [task.id for task in live if tell and task.state in _TOLD]
        halted = [task for task in live if task.state not in _TOLD]
        moved = await asyncio.gather(*(_moved(store, task) for task in halted))
        told += [task.id for task, done in zip(halted, moved, strict=True) if not done]
    for operations in transitions.request_cancels(told):
        await store.commit(Batch(operations))


async def cancel_descendants(store: Store, task: str) -> list[Task]:
    """Ask everything under a task to end, and return what was asked. What is made meanwhile is its parent's to end.

    Raises: StoreError.
    """
    told: list[Task] = []
    async for found in descendants(store, task):
        await cancel_children(store, [child.id for child in found], tell=True)
        told += found
    return told


async def _all(store: Store, where: dict[str, str]) -> list[Task]:
    page = await store.find_tasks(Query(where=where, limit=200))
    found = list(page.items)
    while page.cursor is not None:
        page = await store.find_tasks(Query(where=where, limit=200, cursor=page.cursor))
        found += page.items
    return found


async def _moved(store: Store, task: Task) -> bool:
    """Whether the task could be ended, or handed to a claimer, before one claimed it."""
    try:
        await store.commit(Batch(transitions.cancel(task)))
    except Conflict:
        return False
    return True
