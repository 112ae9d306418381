"""The file of the built-in memory: its layout, and how it is opened.

Deleted rows are overwritten with zeros (`secure_delete`); see `removing` for the index of words and the log. Words are
split by `words`, not by SQLite, so they are handed over with spaces between them: the tokenizer `ascii` splits there
and nowhere else, since all other characters of a word are letters, digits or beyond ASCII.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from opspawn.errors import MemoryUnusable
from opspawn.memories.asking import other_layout

MEMORY = ":memory:"
APPLICATION_ID = 0x4F50534D  # "OPSM"
LAYOUT = 1

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """
    CREATE TABLE items (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, namespace TEXT NOT NULL, id TEXT NOT NULL, text TEXT NOT NULL,
        same BLOB NOT NULL, subject TEXT NOT NULL, session TEXT NOT NULL, metadata TEXT NOT NULL,
        provenance TEXT NOT NULL, confidence REAL NOT NULL, ttl_s REAL, refresh INTEGER NOT NULL,
        created INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER, vector_of TEXT, vector BLOB,
        UNIQUE (namespace, id)
    ) STRICT""",
    "CREATE INDEX items_same ON items (namespace, same)",
    "CREATE INDEX items_subject ON items (subject) WHERE subject <> ''",
    "CREATE INDEX items_session ON items (session) WHERE session <> ''",
    "CREATE INDEX items_expires ON items (expires) WHERE expires IS NOT NULL",
    "CREATE VIRTUAL TABLE words USING fts5(terms, tokenize = 'ascii')",
)


def open_file(path: str, busy_timeout_s: float, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a memory, which is made if there is none. Raises: MemoryUnusable."""
    try:
        if path != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise _unusable(path, str(error)) from error
    try:
        connection.execute("PRAGMA secure_delete = ON")
        if path != MEMORY:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        if not read_only:
            _prepare(connection, path)
        return connection
    except sqlite3.Error as error:
        connection.close()
        words = str(error)
        if "no such module: fts5" in words:
            words = "the SQLite of this Python has no FTS5, which finds words"
        raise _unusable(path, words) from error
    except MemoryUnusable:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and tables == 0:
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
        elif application != APPLICATION_ID:
            raise _unusable(path, "it is a database of something else")
        elif layout != LAYOUT:
            words = f"its layout is {layout}, and this version of Opspawn knows {LAYOUT}"
            raise _unusable(path, words, other_layout(layout, LAYOUT, "opspawn-core"))
        else:
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise _unusable(path, f"it is damaged ({' '.join(str(sound).split())[:200]})")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _unusable(path: str, words: str, remedy: str | None = None) -> MemoryUnusable:
    return MemoryUnusable(
        f"The memory {path!r} cannot be used: {words.rstrip('.')}.",
        remedy=remedy or "Correct memory_path in [plugins.sqlite], or restore the file from a backup.",
    )
