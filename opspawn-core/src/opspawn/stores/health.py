"""What an operator should know of a database: reads, and never mends."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from opspawn.contracts.store import MAX_BATCH_BYTES, Finding
from opspawn.errors import StoreError
from opspawn.stores import mounts
from opspawn.stores.holders import Holders
from opspawn.stores.layout import LAYOUT
from opspawn.stores.schema import MEMORY

WAL_RESET_FIXED = (3, 51, 3)
_LITTLE_SPACE = 1 << 30
_VERY_LITTLE_SPACE = 100 << 20
#: No commit should take so long; one that is seen at its beginning and after it hangs, or waits for a slow disk.
_LONG_COMMIT_S = 0.2
_WORST_FIRST = ("error", "warning", "ok")


def refuse_full(path: str) -> None:
    """Return if the disk of a database has room for what one commit may bring. Raises: StoreError."""
    try:
        free = shutil.disk_usage(Path(path).parent).free
    except OSError as error:
        raise StoreError(f"The disk of the database at {path} cannot be asked: {error.strerror}.") from error
    if free < MAX_BATCH_BYTES:
        raise StoreError(f"The disk of the database at {path} is full.", remedy="Free space on the disk.")


def check(connection: sqlite3.Connection, path: str) -> list[Finding]:
    """The findings on the database at a path."""
    findings = [*_sqlite(), *_content(connection)]
    if path == MEMORY:
        findings.append(Finding("warning", "The store is in memory: it ends with this process.", "Give it a path."))
    else:
        findings += [*_durability(connection), *_place(Path(path)), *_space(Path(path)), *_lock(path)]
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.level))


def _sqlite() -> Iterator[Finding]:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED:
        yield Finding("ok", f"SQLite {version}.")
    else:
        yield Finding(
            "warning",
            f"SQLite {version} can damage a database, very rarely, when two processes write and checkpoint at the same "
            "instant. Opspawn keeps these apart; other programs that write to this file do not.",
            "Let no other program write to the file, or use a Python with SQLite 3.51.3 or newer.",
        )


def _content(connection: sqlite3.Connection) -> Iterator[Finding]:
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout == LAYOUT:
        yield Finding("ok", f"The layout is {layout}, that of this version.")
    else:
        yield Finding("error", f"The layout is {layout}, and this version knows {LAYOUT}.", "Start all processes anew.")
    try:
        faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)").fetchall()]
    except sqlite3.DatabaseError as error:  # too damaged to be looked through
        faults = [str(error)]
    if faults == ["ok"]:
        yield Finding("ok", "Every page of the database is sound.")
    else:
        yield Finding("error", f"The database is damaged: {'; '.join(faults)}.", "Restore it from a backup.")


def _durability(connection: sqlite3.Connection) -> Iterator[Finding]:
    if connection.execute("PRAGMA synchronous").fetchone()[0] >= 2:
        yield Finding("ok", "Every commit is kept through a power failure (synchronous = full).")
    else:
        yield Finding(
            "warning",
            "A power failure may take the last commits (synchronous = normal).",
            'Set synchronous = "full" in [plugins.sqlite] if that matters.',
        )


def _lock(path: str) -> Iterator[Finding]:
    holders = Holders(path)
    holder = holders.find()
    if holder is None:
        return
    time.sleep(_LONG_COMMIT_S)
    if holders.find() == holder:
        who, remedy = holders.words()
        words = f"The lock of the database is held by {who}: nothing can be committed."
        yield Finding("error" if holder.stopped else "warning", words, remedy)


def _place(path: Path) -> Iterator[Finding]:
    sort = mounts.sort_of(path)
    if sort in mounts.NETWORK:
        yield Finding("error", f"The database lies on a network file system ({sort}).", "Move it to a local disk.")
    elif sort in mounts.DOUBTFUL:
        yield Finding(
            "warning",
            f"The database lies on a file system of another machine or a host ({sort}), whose locks may not hold.",
            "Move it to a local disk.",
        )
    elif sort is not None:
        yield Finding("ok", f"The database lies on a local file system ({sort}).")


def _space(path: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(path.parent).free
    needed = os.path.getsize(path)
    words = f"{free / (1 << 30):.1f} GiB are free on the disk; the database has {needed / (1 << 30):.1f} GiB."
    if free < _VERY_LITTLE_SPACE:
        yield Finding("error", words, "Free space: when it is full, nothing can be committed.")
    elif free < max(_LITTLE_SPACE, needed // 10):
        yield Finding("warning", words, "Free space before it is full.")
    else:
        yield Finding("ok", words)
