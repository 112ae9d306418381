"""From an older layout to ours: whole or not at all, while nobody else has the file open.

A program of the older version that runs meanwhile would write rows that ours does not understand. So the database first
leaves WAL mode, which SQLite allows only to a connection that is alone, and then is changed in one exclusive
transaction. Whoever opens it with the older version afterwards is refused by the number of the layout.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from opspawn.contracts.store import HEAD_START_S
from opspawn.errors import StoreUnusable
from opspawn.stores import layout
from opspawn.stores.layout import LAYOUT

_TRY_EVERY_S = 0.05
_FORMER_TASKS = (
    "seq, id, state, version, token, wakes, urgent_at, wake_at, ready, due, rank, owner, queue, handler, agent, "
    "session, root, parent, priority, attempt, deliveries, timeout_s, retry, retry_of, created, updated, ended, "
    "labels, error, input, result"
)


def migrate(connection: sqlite3.Connection, path: str, busy_timeout_s: float) -> None:
    """Bring the database up to `LAYOUT`; it is back in WAL mode once it is opened on.

    Raises: StoreUnusable: another process has it open, still after `busy_timeout_s`. sqlite3.Error: it failed, and the
        file is as it was.
    """
    give_up = time.monotonic() + busy_timeout_s
    while not _begin_alone(connection):
        if time.monotonic() >= give_up:
            raise StoreUnusable(
                f"The database {path} has layout {version(connection)} and must be brought to layout {LAYOUT}, while "
                "another process uses it.",
                remedy="Stop all processes that use it, then start this version.",
            )
        time.sleep(_TRY_EVERY_S)
    try:
        for former in range(version(connection), LAYOUT):  # whoever was faster has left nothing to do
            _STEPS[former](connection)
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def version(connection: sqlite3.Connection) -> int:
    """The layout of the database; 0 for a new one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _begin_alone(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return False
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        return True
    connection.execute("ROLLBACK")  # somebody opened it between the two
    return False


def _from_1(connection: sqlite3.Connection) -> None:
    """Holds, lanes, labels to search by, fields of records, values kept apart, rates, a clock that never goes back."""
    now = time.time_ns() // 1000
    for name in (index.split()[2] for index in layout.TASK_INDEXES):
        connection.execute(f"DROP INDEX IF EXISTS {name}")
    connection.execute("ALTER TABLE tasks RENAME TO former_tasks")
    connection.execute("ALTER TABLE records RENAME TO former_records")
    for statement in (layout.TASKS, *layout.AROUND_TASKS, *layout.RECORDS, *layout.APART):
        connection.execute(statement)
    connection.execute(
        f"INSERT INTO tasks ({_FORMER_TASKS}, cancel, head_start, places, strict, large) "
        f"SELECT {_FORMER_TASKS}, 0, priority * {round(HEAD_START_S * 1_000_000)}, 0, 0, 0 FROM former_tasks"
    )
    connection.execute("INSERT INTO labels SELECT key, value, seq FROM tasks, json_each(labels)")
    connection.execute(
        "INSERT INTO records (kind, id, version, created, updated, fields, data) "
        "SELECT kind, id, version, ?1, ?1, '{}', data FROM former_records ORDER BY rowid",
        (now,),
    )
    connection.execute("DROP TABLE former_tasks")
    connection.execute("DROP TABLE former_records")
    connection.execute("DROP INDEX IF EXISTS events_session")  # of the first days of this layout
    for statement in (*layout.TASK_INDEXES, *(one for one in layout.EVENTS if "INDEX events_session " in one)):
        connection.execute(statement)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1}
