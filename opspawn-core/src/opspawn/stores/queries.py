"""What readers ask. Each function takes a connection and one argument, and returns records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence, Set
from typing import Any, TypeVar

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Page, Query, Record, Task, TaskState
from opspawn.contracts.unreadable import Unreadable
from opspawn.errors import InvalidInput, StoreError
from opspawn.stores import rows
from opspawn.stores.payloads import fetching
from opspawn.stores.records import NAME

T = TypeVar("T")

TASK_FIELDS = ("id", "state", "handler", "queue", "parent", "root", "agent", "session", "retry_of")

_EVENTS = f"SELECT {rows.EVENT_COLUMNS} FROM events LEFT JOIN tasks ON tasks.seq = events.task"
_JOURNAL = (
    f"{_EVENTS} WHERE events.task = (SELECT seq FROM tasks WHERE id = ?) AND events.position > ? "
    "ORDER BY events.position"
)
_AFTER = f"{_EVENTS} WHERE events.position > ? AND events.type <> '' ORDER BY events.position LIMIT ?"
_AFTER_TYPES = (
    f"{_EVENTS} WHERE events.position > ? AND events.type IN (SELECT value FROM json_each(?)) "
    "ORDER BY events.position LIMIT ?"
)
_OF_SESSION = "(events.task IN (SELECT seq FROM tasks WHERE session = ?) OR (events.task = 0 AND events.session = ?))"


def record(connection: sqlite3.Connection, key: tuple[str, str]) -> Record | None:
    """The record of a kind and id. Raises: StoreError: it cannot be read."""
    row = connection.execute(f"SELECT {rows.RECORD_COLUMNS} FROM records WHERE kind = ? AND id = ?", key).fetchone()
    found = None if row is None else rows.record(row)
    if found is not None and type(found.data) is Unreadable:
        raise StoreError(f"The record {key[0]}/{key[1]} cannot be read: {found.data.why}.")
    return found


def task(connection: sqlite3.Connection, id: str) -> Task | None:
    """The task of an id."""
    row = connection.execute(f"SELECT {rows.TASK_COLUMNS} FROM tasks WHERE id = ?", (id,)).fetchone()
    return None if row is None else rows.task(row, fetching(connection.execute))


def wakes(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """The wakes of those tasks that exist."""
    select = "SELECT id, wakes FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(select, (json.dumps(list(ids)),)).fetchall())


def find_tasks(connection: sqlite3.Connection, query: Query) -> Page[Task]:
    """Tasks that match, newest first. Raises: InvalidInput: unknown field, limit out of range, or a foreign cursor."""
    terms, values = _terms(query)
    for name, value in query.where.items():
        terms.append(_task_term(name, value))
        values.append(value)
    for label in query.labels.items():
        terms.append("seq IN (SELECT task FROM labels WHERE name = ? AND value = ?)")
        values.extend(label)
    order = "seq"
    if query.ended_before is not None:
        terms.append("ended < ?")
        values.append(rows.microseconds(query.ended_before))
        order = "+seq"  # what has ended is found by its time, and not by walking back over all that is newer
    select = f"SELECT {rows.TASK_COLUMNS}, seq FROM tasks WHERE {' AND '.join(terms)} ORDER BY {order} DESC LIMIT ?"
    return _page(connection, select, values, query, rows.task)


def find(connection: sqlite3.Connection, asked: tuple[str, Query]) -> Page[Record]:
    """Records of a kind that match, newest first: (kind, query); what cannot be read is left out.

    Raises: InvalidInput: as `find_tasks`.
    """
    kind, query = asked
    if kind == "task" or query.labels or query.ended_before is not None:
        raise InvalidInput("Only tasks have labels and an end.", remedy="Find tasks by `find_tasks`.")
    terms, values = _terms(query)
    terms.append("kind = ?")
    values.append(kind)
    for name, value in query.where.items():
        if name == "id":
            terms.append("id = ?")
        elif NAME.fullmatch(name):
            terms.append("seq IN (SELECT record FROM fields WHERE kind = ? AND name = ? AND value = ?)")
            values.extend((kind, name))
        else:
            raise InvalidInput(f"Records have no field {name!r}.", remedy='Names are of letters, digits and "_".')
        values.append(value)
    select = f"SELECT {rows.RECORD_COLUMNS}, seq FROM records WHERE {' AND '.join(terms)} ORDER BY seq DESC LIMIT ?"
    page = _page(connection, select, values, query, rows.record)
    return Page([record for record in page.items if type(record.data) is not Unreadable], page.cursor)


def _terms(query: Query) -> tuple[list[str], list[Any]]:
    """What tasks and records are searched by alike."""
    check_limit(query.limit, 200)
    terms = ["1"]
    values: list[Any] = []
    if query.after is not None:
        terms.append("created >= ?")
        values.append(rows.microseconds(query.after))
    if query.before is not None:
        terms.append("created < ?")
        values.append(rows.microseconds(query.before))
    if query.cursor is not None:
        terms.append("seq < ?")
        values.append(cursor_position(query.cursor))
    return terms, values


def _page(
    connection: sqlite3.Connection, select: str, values: list[Any], query: Query, read: Callable[[tuple[Any, ...]], T]
) -> Page[T]:
    found = connection.execute(select, (*values, query.limit + 1)).fetchall()
    cursor = str(found[query.limit - 1][-1]) if len(found) > query.limit else None
    return Page([read(row[:-1]) for row in found[: query.limit]], cursor)


def journal(connection: sqlite3.Connection, key: tuple[str, int]) -> list[Event]:
    """All events of a task after a position."""
    fetch = fetching(connection.execute)
    return [rows.event(row, fetch) for row in connection.execute(_JOURNAL, key).fetchall()]


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
    check_limit(query.limit, 1000)
    terms, values = _event_terms(query)
    order = "DESC" if query.newest else "ASC"
    select = f"{_EVENTS} WHERE {' AND '.join(terms)} ORDER BY events.position {order} LIMIT ?"
    found = [rows.event(row) for row in connection.execute(select, (*values, query.limit)).fetchall()]
    return found[::-1] if query.newest else found


def _event_terms(query: EventQuery) -> tuple[list[str], list[Any]]:
    terms = ["events.type <> ''"]
    values: list[Any] = []

    def where(term: str, value: Any) -> None:
        if value is not None:
            terms.append(term)
            values.append(value)

    where("events.position > ?", query.position)
    if query.apart:
        terms.append("events.task = 0")
    where("events.task = (SELECT seq FROM tasks WHERE id = ?)", query.task)
    where("events.task IN (SELECT seq FROM tasks WHERE root = ?)", query.root)
    where("events.agent = ?", query.agent)
    if query.session is not None:
        where(_OF_SESSION, query.session)
        values.append(query.session)
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


def check_limit(limit: int, most: int) -> None:
    """Raises: InvalidInput: the limit of a query is out of range."""
    if not 1 <= limit <= most:
        raise InvalidInput(f"The limit is {limit}.", remedy=f"Give one from 1 to {most}.")


def cursor_position(cursor: str) -> int:
    """Where a cursor goes on. Raises: InvalidInput: it is none of ours."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidInput(f"{cursor!r} is no cursor of this store.", remedy="Pass the cursor of a former page.")
    return int(cursor)
