"""What belongs to no task and would stay for ever: events of agents and sessions, sessions that ended, definitions of
workflows that no run uses any more. The settings are those of trees of tasks: an age, and how many at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from opspawn.contracts.seeing import Pruned
from opspawn.contracts.store import Batch, Delete, EventQuery, Put, Query, Record, Store, Task
from opspawn.errors import Conflict
from opspawn.ops.definitions import INLINE, KIND, PINNED, REFRESH_S
from opspawn.ops.keeping import Keep
from opspawn.ops.sessions.records import KIND as SESSION

#: Events that are never deleted by themselves, by the beginning of their types.
_STAYS = "audit."
_BATCH = 200
_PAGE = 1000


async def prune(store: Store, keep: Keep, now: datetime, dry_run: bool, done: Pruned) -> None:
    """Delete what `keep` does not keep. Raises: StoreError."""
    since = None if keep.ended_s is None else now - timedelta(seconds=keep.ended_s)
    await _prune_events(store, since, keep.at_most, dry_run, done)
    if since is not None:
        await _prune_sessions(store, since, dry_run, done)
        await _prune_definitions(store, min(since, now - timedelta(seconds=2 * REFRESH_S)), dry_run, done)


async def _prune_events(store: Store, since: datetime | None, at_most: int | None, dry_run: bool, done: Pruned) -> None:
    """Events of no task that are old, and of all of them those that are too many."""
    surplus = 0 if at_most is None else await _count(store) - at_most
    position = 0
    while page := await store.events(EventQuery(apart=True, position=position, limit=_BATCH)):
        old = [n < surplus or (since is not None and event.time < since) for n, event in enumerate(page)]
        doomed = [
            event for event, is_old in zip(page, old, strict=True) if is_old and not event.type.startswith(_STAYS)
        ]
        if doomed and not dry_run:
            try:
                await store.commit(Batch([Delete("event", str(event.position), 0) for event in doomed]))
            except Conflict:  # somebody else is at it
                return
        done.events += len(doomed)
        if not all(old):
            return
        surplus, position = surplus - len(page), page[-1].position


async def _count(store: Store) -> int:
    count = position = 0
    while page := await store.events(EventQuery(apart=True, position=position, limit=_PAGE)):
        count, position = count + len(page), page[-1].position
    return count


async def _prune_sessions(store: Store, since: datetime, dry_run: bool, done: Pruned) -> None:
    """Sessions that were ended by name, long ago, and of which no task is left."""
    for record in await _older(store, SESSION, since):
        ended = record.data.get("ended")
        if ended is None or datetime.fromisoformat(ended) >= since:
            continue
        if not (await store.find_tasks(Query(where={"session": record.id}, limit=1))).items:
            await _delete(store, record, dry_run, done)


async def _prune_definitions(store: Store, since: datetime, dry_run: bool, done: Pruned) -> None:
    """Definitions that were pinned long ago, are no stored workflow's, and of which no run is left.

    Whoever pins one makes it young again, before it accepts a run; so none goes that is just about to be used.
    """
    old = [one for one in await _older(store, PINNED, since) if one.updated is not None and one.updated < since]
    stored = await _older(store, KIND, None) if old else []
    named = {digest for record in stored for digest in record.data["versions"]}
    for record in old:
        if record.id in named:
            continue
        if not await _runs(store, record):
            await _delete(store, record, dry_run, done)
        elif not dry_run:  # so that it is not looked for again too soon
            await _touch(store, record)


async def _runs(store: Store, definition: Record) -> bool:
    """Whether a task was begun with a definition, as far as a page of tasks can tell."""
    for handler in (INLINE, f"workflow/{definition.data.get('name')}"):
        cursor: str | None = None
        while True:
            page = await store.find_tasks(Query(where={"handler": handler}, limit=200, cursor=cursor))
            if any(_uses(task, definition.id) for task in page.items):
                return True
            if (cursor := page.cursor) is None:
                break
    return False


def _uses(task: Task, digest: str) -> bool:
    asked: Any = task.input
    if not isinstance(asked, dict):
        return False
    return asked.get("definition") == digest or "$payload" in asked  # too large for a page


async def _older(store: Store, kind: str, since: datetime | None) -> Sequence[Record]:
    found: list[Record] = []
    cursor: str | None = None
    while True:
        page = await store.find(kind, Query(before=since, limit=200, cursor=cursor))
        found += page.items
        if (cursor := page.cursor) is None:
            return found


async def _delete(store: Store, record: Record, dry_run: bool, done: Pruned) -> None:
    if not dry_run:
        try:
            await store.commit(Batch([Delete(record.kind, record.id, record.version)]))
        except Conflict:  # it was used just now
            return
    done.records += 1


async def _touch(store: Store, record: Record) -> None:
    try:
        await store.commit(Batch([Put(Record(record.kind, record.id, record.data), expect=record.version)]))
    except Conflict:
        return
