"""Everything in a database, page by page, and how it gets into another one: see `opspawn.contracts.moving`."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.moving import Kept, KeptRest, KeptTask
from opspawn.contracts.store import Put, Record, Task, TaskState
from opspawn.errors import Conflict
from opspawn.stores import records, rows, tasks
from opspawn.stores.payloads import Large, fetching
from opspawn.stores.readers import Readers
from opspawn.stores.transaction import Transaction
from opspawn.stores.writer import Writer

_PAGE = 100

_TASKS = (
    f"SELECT {rows.TASK_COLUMNS}, wake_at, urgent_at, cancel, "
    "(SELECT json_group_array(json_array(key, lasting)) FROM places WHERE places.task = tasks.seq), seq "
    f"FROM tasks WHERE seq > ? ORDER BY seq LIMIT {_PAGE}"
)
_RECORDS = f"SELECT {rows.RECORD_COLUMNS}, seq FROM records WHERE (kind, seq) > (?, ?) ORDER BY kind, seq LIMIT {_PAGE}"
_EVENTS = (
    f"SELECT {rows.EVENT_COLUMNS} FROM events LEFT JOIN tasks ON tasks.seq = events.task "
    f"WHERE events.position > ? AND events.type <> '' ORDER BY events.position LIMIT {_PAGE}"
)
_NEWEST = "SELECT coalesce(max(position), 0) FROM events"

_SET_TASK = (
    "UPDATE tasks SET state = ?, version = ?, token = ?, wakes = ?, urgent_at = ?, wake_at = ?, cancel = ?, ready = 0, "
    "due = ?, rank = ? - head_start, owner = ?, line = ?, places = ?, created = ?, updated = ?, ended = ? WHERE seq = ?"
)
_PLACE = "INSERT INTO places (task, key, lasting) VALUES (?, ?, ?)"
_COUNT = "INSERT INTO keys (key, held) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET held = held + 1"
_SET_RECORD = "UPDATE records SET version = ?, created = ?, updated = ? WHERE kind = ? AND id = ?"
_EVENT = (
    "INSERT INTO events (position, task, time, type, level, error_type, agent, session, data) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BLANK = "INSERT INTO events (position, task, time, type, level, data) VALUES (?, 0, ?, '', 'info', '{}')"
_CLOSE = "INSERT INTO closed (handler) VALUES (?) ON CONFLICT DO NOTHING"
_RATE = "INSERT INTO rates (key, full) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET full = excluded.full"


async def kept(readers: Readers, writer: Writer) -> AsyncGenerator[Kept, None]:
    """See `Movable.kept`."""
    pages: tuple[tuple[Any, Any], ...] = ((_tasks, 0), (_records, ("", 0)), (_events, 0))
    for read, start in pages:
        page: list[tuple[Kept, Any]] = [(KeptRest(rows.moment(0), 0), start)]
        while page:
            page = await readers.run(read, page[-1][1])
            for item, _ in page:
                yield item
    rest: KeptRest = await writer.run(_rest, None)
    yield rest


def _tasks(connection: sqlite3.Connection, after: int) -> list[tuple[Kept, int]]:
    fetch = fetching(connection.execute)
    found: list[tuple[Kept, int]] = []
    for *columns, wake_at, urgent_at, cancel, places, seq in connection.execute(_TASKS, (after,)).fetchall():
        has = tuple(sorted((key, bool(lasting)) for key, lasting in rows.load(places)))
        found.append((KeptTask(rows.task(tuple(columns), fetch), wake_at, urgent_at, bool(cancel), has), seq))
    return found


def _records(connection: sqlite3.Connection, after: tuple[str, int]) -> list[tuple[Kept, tuple[str, int]]]:
    return [(rows.record(row[:-1]), (row[0], row[-1])) for row in connection.execute(_RECORDS, after).fetchall()]


def _events(connection: sqlite3.Connection, after: int) -> list[tuple[Kept, int]]:
    fetch = fetching(connection.execute)
    return [(rows.event(row, fetch), row[0]) for row in connection.execute(_EVENTS, (after,)).fetchall()]


def _rest(tx: Transaction, _: None) -> KeptRest:
    """By the writer, who alone knows the time of a store in memory."""
    closed = [handler for (handler,) in tx.execute("SELECT handler FROM closed ORDER BY handler").fetchall()]
    rates = tx.execute("SELECT key, full FROM rates ORDER BY key").fetchall()
    return KeptRest(tx.time, tx.execute(_NEWEST).fetchone()[0], tuple(closed), tuple(rates))


def line_of(kept: KeptTask) -> str | None:
    """The key in whose line a task stands once it is due, as its state and its places say."""
    task = kept.task
    if task.state.terminal:
        return None
    if task.state is TaskState.RUNNING:  # as a claim leaves it
        return next((hold.key for hold in task.holds if hold.while_ == "running"), None)
    has = {key for key, _ in kept.places}
    return next((hold.key for hold in task.holds if hold.key not in has), None)


def as_put(task: Task) -> Task:
    """The task so far as a Put can make it: with `due_in_s=None` it stands nowhere then, and is never due."""
    return replace(task, state=TaskState.PAUSED)


def restore(tx: Transaction, items: Sequence[Kept]) -> None:
    """See `Movable.restore`. Raises: Conflict; StoreError."""
    newest = tx.execute(_NEWEST).fetchone()[0]
    for item in items:
        if isinstance(item, KeptTask):
            _restore_task(tx, item)
        elif isinstance(item, Record):
            _restore_record(tx, item)
        elif isinstance(item, Event):
            if item.position > newest:
                _restore_event(tx, item)
        else:
            _restore_rest(tx, item, newest)


def _is_there(tx: Transaction, select: str, key: tuple[str, ...], version: int, what: str) -> bool:
    row = tx.execute(select, key).fetchone()
    if row is not None and row[0] != version:
        raise Conflict(f"{what} is there already, at version {row[0]} and not {version}.")
    return row is not None


def _restore_task(tx: Transaction, kept: KeptTask) -> None:
    task = kept.task
    if _is_there(tx, "SELECT version FROM tasks WHERE id = ?", (task.id,), task.version, f"Task {task.id!r}"):
        return
    blank = as_put(task)
    prepared, _ = tasks.prepare(Put(blank, expect=0, due_in_s=None), blank, Large())
    tasks.create(tx, prepared)
    (seq,) = tx.execute("SELECT seq FROM tasks WHERE id = ?", (task.id,)).fetchone()
    for key, lasting in kept.places:
        tx.execute(_PLACE, (seq, key, int(lasting)))
        tx.execute(_COUNT, (key,))
    places = 2 if any(not lasting for _, lasting in kept.places) else int(bool(kept.places))
    due = _time(task.due)
    counters = (str(task.state), task.version, task.token, task.wakes, kept.urgent_at, kept.wake_at, int(kept.ending))
    times = (_time(task.created), _time(task.updated), _time(task.ended))
    tx.execute(_SET_TASK, (*counters, due, due, task.owner, line_of(kept), places, *times, seq))


def _restore_record(tx: Transaction, record: Record) -> None:
    key = (record.kind, record.id)
    select = "SELECT version FROM records WHERE kind = ? AND id = ?"
    if _is_there(tx, select, key, record.version, f"Record {record.kind}/{record.id}"):
        return
    prepared, _ = records.prepare(Put(record, expect=0), record)
    records.write(tx, prepared)
    tx.execute(_SET_RECORD, (record.version, _time(record.created), _time(record.updated), *key))


def _restore_event(tx: Transaction, event: Event) -> None:
    seq = 0
    if event.task is not None:
        row = tx.execute("SELECT seq FROM tasks WHERE id = ?", (event.task,)).fetchone()
        if row is None:
            raise Conflict(f"Task {event.task!r}, whose event is at {event.position}, is not there.")
        seq = row[0]
    large = Large()
    data = large.place(rows.dump(event.data, event.type))
    whose = (event.error_type, event.agent, event.session)
    tx.execute(_EVENT, (event.position, seq, _time(event.time), event.type, event.level, *whose, data))
    large.keep(tx, data)


def _restore_rest(tx: Transaction, rest: KeptRest, newest: int) -> None:
    time = rows.microseconds(rest.time)
    if rest.position > max(newest, tx.execute(_NEWEST).fetchone()[0]):
        tx.execute(_BLANK, (rest.position, time))
    tx.cursor.executemany(_CLOSE, [(handler,) for handler in rest.closed])
    tx.cursor.executemany(_RATE, rest.rates)
    tx.advance(time)


def _time(time: Any) -> int | None:
    return None if time is None else rows.microseconds(time)
