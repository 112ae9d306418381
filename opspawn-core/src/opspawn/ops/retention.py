"""Deleting what is old: whole trees of tasks that have ended, with their questions, signals and idempotency keys.

A tree is deleted only if every task in it has ended, and if no later task that stays builds on it: a retry answers the
steps of the task that it tries again from that one's journal. A tree goes in bounded batches, its root last, so that
one which was interrupted is found again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from opspawn.contracts.store import Batch, Delete, Operation, Query, Store, Task, TaskState
from opspawn.errors import Conflict
from opspawn.ops.question_records import KIND as QUESTION
from opspawn.ops.sessions.records import KIND as SESSION
from opspawn.ops.signal_marks import KIND as SIGNAL

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Keep:
    """What stays: trees that ended less than `ended_s` seconds ago (`failed_s` for those that failed; None: however old
    they are), and of all trees that have ended the newest `at_most`.
    """

    ended_s: float | None = None
    failed_s: float | None = None
    at_most: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is ever deleted."""
        return self.ended_s is None and self.failed_s is None and self.at_most is None

    def since(self, root: Task, now: datetime) -> datetime | None:
        """The time up to which a tree with this root must have ended to be deleted by its age; None: it is kept."""
        seconds = self.failed_s if root.state is TaskState.FAILED and self.failed_s is not None else self.ended_s
        return None if seconds is None else now - timedelta(seconds=seconds)


@dataclass(slots=True)
class Pruned:
    """What was deleted, or with `dry_run` would be; `held` counts trees that stay since something builds on them."""

    trees: int = 0
    tasks: int = 0
    records: int = 0
    held: int = 0


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
    if keep.ended_s is not None:
        await _prune_sessions(store, now - timedelta(seconds=keep.ended_s), dry_run, done)
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


async def _prune_sessions(store: Store, since: datetime, dry_run: bool, done: Pruned) -> None:
    """Sessions that were ended by name, long ago, and of which no task is left."""
    cursor: str | None = None
    while True:
        page = await store.find(SESSION, Query(before=since, limit=200, cursor=cursor))
        for record in page.items:
            ended = record.data.get("ended")
            if ended is None or datetime.fromisoformat(ended) >= since:
                continue
            if (await store.find_tasks(Query(where={"session": record.id}, limit=1))).items:
                continue
            done.records += 1
            if not dry_run:
                try:
                    await store.commit(Batch([Delete(SESSION, record.id, record.version)]))
                except Conflict:
                    done.records -= 1
        if (cursor := page.cursor) is None:
            return
