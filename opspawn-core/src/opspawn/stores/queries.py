"""What readers ask. Each function takes a connection and one argument, and returns records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence, Set
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Page, Query, Record, Task, TaskState
from opspawn.errors import InvalidInput
from opspawn.stores import rows

TASK_FIELDS = ("id", "state", "handler", "queue", "parent", "root", "agent", "session")

_EVENTS = f"SELECT {rows.EVENT_COLUMNS} FROM events JOIN tasks ON tasks.seq = events.task"
_JOURNAL = (
    f"{_EVENTS} WHERE events.task = (SELECT seq FROM tasks WHERE id = ?) AND events.position > ? "
    "ORDER BY events.position"
)
_AFTER = f"{_EVENTS} WHERE events.position > ? ORDER BY events.position LIMIT ?"
_AFTER_TYPES = (
    f"{_EVENTS} WHERE events.position > ? AND events.type IN (SELECT value FROM json_each(?)) "
    "ORDER BY events.position LIMIT ?"
)


def record(connection: sqlite3.Connection, key: tuple[str, str]) -> Record | None:
    """The record of a kind and id."""
    row = connection.execute("SELECT kind, id, data, version FROM records WHERE kind = ? AND id = ?", key).fetchone()
    return None if row is None else rows.record(row)


def task(connection: sqlite3.Connection, id: str) -> Task | None:
    """The task of an id."""
    row = connection.execute(f"SELECT {rows.TASK_COLUMNS} FROM tasks WHERE id = ?", (id,)).fetchone()
    return None if row is None else rows.task(row)


def wakes(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """The wakes of those tasks that exist."""
    select = "SELECT id, wakes FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(select, (json.dumps(list(ids)),)).fetchall())


def find_tasks(connection: sqlite3.Connection, query: Query) -> Page[Task]:
    """Tasks that match, newest first. Raises: InvalidInput: unknown field, limit out of range, or a foreign cursor."""
    _check_limit(query.limit, 200)
    terms = ["1"]
    values: list[Any] = []
    for name, value in query.where.items():
        terms.append(_task_term(name, value))
        values.append(value)
    if query.after is not None:
        terms.append("created >= ?")
        values.append(rows.microseconds(query.after))
    if query.before is not None:
        terms.append("created < ?")
        values.append(rows.microseconds(query.before))
    if query.cursor is not None:
        terms.append("seq < ?")
        values.append(_position(query.cursor))
    select = f"SELECT {rows.TASK_COLUMNS}, seq FROM tasks WHERE {' AND '.join(terms)} ORDER BY seq DESC LIMIT ?"
    found = connection.execute(select, (*values, query.limit + 1)).fetchall()
    cursor = str(found[query.limit - 1][-1]) if len(found) > query.limit else None
    return Page([rows.task(row[:-1]) for row in found[: query.limit]], cursor)


def journal(connection: sqlite3.Connection, key: tuple[str, int]) -> list[Event]:
    """All events of a task after a position."""
    return [rows.event(row) for row in connection.execute(_JOURNAL, key).fetchall()]


def last_position(connection: sqlite3.Connection) -> int:
    """The position of the newest event; 0 when there is none."""
    return int(connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()[0])


def events_after(connection: sqlite3.Connection, key: tuple[int, int, Set[str]]) -> list[Event]:
    """The next events, of all tasks, after a position: (position, limit, types); no types are all."""
    position, limit, types = key
    if types:
        found = connection.execute(_AFTER_TYPES, (position, json.dumps(sorted(types)), limit))
    else:
        found = connection.execute(_AFTER, (position, limit))
    return [rows.event(row) for row in found.fetchall()]


def events(connection: sqlite3.Connection, query: EventQuery) -> list[Event]:
    """Events that match, oldest first; see `EventQuery`. Raises: InvalidInput: the limit is out of range."""
    _check_limit(query.limit, 1000)
    terms, values = _event_terms(query)
    order = "DESC" if query.newest else "ASC"
    select = f"{_EVENTS} WHERE {' AND '.join(terms)} ORDER BY events.position {order} LIMIT ?"
    found = [rows.event(row) for row in connection.execute(select, (*values, query.limit)).fetchall()]
    return found[::-1] if query.newest else found


def _event_terms(query: EventQuery) -> tuple[list[str], list[Any]]:
    terms: list[str] = []
    values: list[Any] = []

    def where(term: str, value: Any) -> None:
        if value is not None:
            terms.append(term)
            values.append(value)

    where("events.position > ?", query.position)
    where("events.task = (SELECT seq FROM tasks WHERE id = ?)", query.task)
    where("events.task IN (SELECT seq FROM tasks WHERE root = ?)", query.root)
    where("events.agent = ?", query.agent)
    where("events.task IN (SELECT seq FROM tasks WHERE session = ?)", query.session)
    where("events.error_type = ?", query.error_type)
    # The second half is what lets SQLite use the index, which leaves out the many.
    where("events.level = ?" + (" AND events.level <> 'info'" if query.level != "info" else ""), query.level)
    where("events.time >= ?", None if query.after is None else rows.microseconds(query.after))
    where("events.time < ?", None if query.before is None else rows.microseconds(query.before))
    if query.types:
        terms.append(f"events.type IN ({', '.join('?' * len(query.types))})")
        values.extend(query.types)
    return terms, values


def _task_term(name: str, value: str) -> str:
    if name not in TASK_FIELDS:
        raise InvalidInput(f"Tasks cannot be searched by {name!r}.", remedy=f"Use one of {', '.join(TASK_FIELDS)}.")
    if name == "state" and value != TaskState.SUCCEEDED:
        return "state = ? AND state <> 'succeeded'"  # the second half is what lets SQLite use the index
    return f"{name} = ?"


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidInput(f"The limit is {limit}.", remedy=f"Give one from 1 to {most}.")


def _position(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidInput(f"{cursor!r} is no cursor of this store.", remedy="Pass the cursor of a former page.")
    return int(cursor)
