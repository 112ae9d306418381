"""Forgetting, so that nothing is left: neither in the tables, nor in the index of words, nor in the log.

Deleted rows are overwritten with zeros by SQLite itself (`secure_delete`). An index of FTS5 only notes that a word is
gone, until its parts are merged: "optimize" merges all of them. The log holds what was written before, until it is cut
off. Both happen before `forget` returns. What a file system or a disk keeps of overwritten blocks is beyond this.
"""

from __future__ import annotations

import sqlite3
import time

from loguru import logger

from opspawn.memories.writing import drop as remove

_PATIENCE_S = 10.0


def expired(connection: sqlite3.Connection, now: int) -> list[int]:
    """The items whose time is over."""
    return [seq for (seq,) in connection.execute("SELECT seq FROM items WHERE expires <= ?", (now,))]


def wipe(connection: sqlite3.Connection) -> None:
    """Merge the index of words, and cut off the log; another process that reads may hold the latter up for a while."""
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    until = time.monotonic() + _PATIENCE_S
    while True:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            return
        if time.monotonic() > until:
            logger.warning("The log of the memory still holds what was forgotten, since another process reads it.")
            return
        time.sleep(0.05)


def shrink(connection: sqlite3.Connection) -> None:
    """Give the room of what is gone back to the system; to be followed by `wipe`."""
    connection.execute("VACUUM")


__all__ = ["expired", "remove", "shrink", "wipe"]
