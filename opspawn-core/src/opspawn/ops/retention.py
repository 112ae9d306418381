"""Deleting what is old: whole trees of tasks that have ended, with their questions, signals and idempotency keys; and
what belongs to no task (see `leftovers`).

A tree is deleted only if every task in it has ended, and if no later task that stays builds on it: a retry answers the
steps of the task that it tries again from that one's journal. A tree goes in bounded batches, its root last, so that
one which was interrupted is found again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from opspawn.contracts.seeing import Pruned
from opspawn.contracts.store import Batch, Delete, Operation, Query, Store, Task, TaskState
from opspawn.errors import Conflict
from opspawn.ops import leftovers
from opspawn.ops.keeping import Keep
from opspawn.ops.question_records import KIND as QUESTION
from opspawn.ops.signal_marks import KIND as SIGNAL

_BATCH = 200


async def prune(
    store: Store,
    keep: Keep,
    now: datetime,
    *,
    dry_run: bool = False,
    between: Callable[[], Awaitable[bool]] | None = None,
) -> Pruned:
    """Delete what `keep` does not keep. `now` is the time by which ages count, aware.

    Args:
        between: awaited before each tree; once it says False, no more is deleted.

    Raises: StoreError.
    """
    done = Pruned()
    if keep.everything:
        return done
    seen = 0
    async for root in _ended_roots(store, keep, now):
        seen += 1
        since = keep.since(root, now)
        if keep.at_most is not None and seen > keep.at_most:
            since = now
        if since is None or root.ended is None or root.ended >= since:
            continue
        if between is not None and not await between():
            break
        await _prune_tree(store, root, since, dry_run, done)
    await leftovers.prune(store, keep, now, dry_run, done)
    return done


async def _ended_roots(store: Store, keep: Keep, now: datetime) -> AsyncIterator[Task]:
    """Newest first, so that a retry is deleted before what it builds on."""
    ages = [age for age in (keep.ended_s, keep.failed_s) if age is not None]
    newest = now if keep.at_most is not None else now - timedelta(seconds=min(ages))
    cursor: str | None = None
    while True:
        page = await store.find_tasks(Query(ended_before=newest, limit=200, cursor=cursor))
        for task in page.items:
            if task.id == task.root:
                yield task
        if (cursor := page.cursor) is None:
            return


async def _prune_tree(store: Store, root: Task, since: datetime, dry_run: bool, done: Pruned) -> None:
    tasks = await _tree(store, root)
    if any(not task.state.terminal or task.ended is None or task.ended >= since for task in tasks):
        return
    for task in tasks:
        if task.state is not TaskState.SUCCEEDED and await _built_on(store, task):
            done.held += 1
            return
    below = [Delete("task", task.id, task.version) for task in tasks if task.id != root.id]
    beside = [
        *[Delete(QUESTION, *mark) for mark in await _records(store, QUESTION, {"root": root.id})],
        *[Delete(SIGNAL, *mark) for mark in await _records(store, SIGNAL, {"root": root.id})],
        *[Delete("idempotency", *mark) for mark in await _records(store, "idempotency", {"task": root.id})],
    ]
    if not dry_run:
        try:
            await _commit(store, [*below, *beside, Delete("task", root.id, root.version)])
        except Conflict:  # somebody else deletes it, or it was touched: it is found again
            return
    done.trees += 1
    done.tasks += len(tasks)
    done.records += len(beside)


async def _tree(store: Store, root: Task) -> list[Task]:
    found: list[Task] = []
    cursor: str | None = None
    while True:
        page = await store.find_tasks(Query(where={"root": root.id}, limit=200, cursor=cursor))
        found += page.items
        if (cursor := page.cursor) is None:
            return found


async def _built_on(store: Store, task: Task) -> bool:
    """Whether a task of another tree tries this one again, and so reads its journal."""
    page = await store.find_tasks(Query(where={"retry_of": task.id}, limit=10))
    return any(later.root != task.root for later in page.items)


async def _records(store: Store, kind: str, where: dict[str, str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    cursor: str | None = None
    while True:
        page = await store.find(kind, Query(where=where, limit=200, cursor=cursor))
        found += [(record.id, record.version) for record in page.items]
        if (cursor := page.cursor) is None:
            return found


async def _commit(store: Store, operations: Sequence[Operation]) -> None:
    for start in range(0, len(operations), _BATCH):
        await store.commit(Batch(operations[start : start + _BATCH]))
