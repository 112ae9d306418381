"""A copy of a database while it is in use."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from opspawn.errors import StoreError
from opspawn.stores.jobs import as_store_error


def backup(source: sqlite3.Connection, path: str) -> None:
    """Copy what is committed now to a new file at `path`, which is there whole and synced, or not at all.

    Writers go on meanwhile: the copy is of one moment. The connection is used by nobody else.

    Raises: StoreError: the file exists, cannot be written, or the copy is damaged.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    if os.path.lexists(target):
        raise _exists(path)
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # it holds prompts and answers
        _copy(source, part)
        _sync(part)
        os.link(part, target)  # unlike a renaming, this never replaces what has come meanwhile
        _sync(target.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise StoreError(
            f"The backup {path!r} cannot be written: {error.strerror}.", remedy="Choose a folder with room for it."
        ) from error
    except sqlite3.Error as error:
        raise as_store_error(error) from error
    finally:
        with suppress(OSError):
            part.unlink()


def _copy(source: sqlite3.Connection, part: Path) -> None:
    with closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
        fault = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    for left in (f"{part}-wal", f"{part}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(left)
    if fault != "ok":
        raise StoreError(f"The database is damaged: {fault}.", remedy="Restore it from an older backup.")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _exists(path: str) -> StoreError:
    return StoreError(f"The file {path!r} exists already.", remedy="Give the backup a path of its own.")
