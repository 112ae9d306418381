"""How the database is opened: every reason not to open it is one line with a remedy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from loguru import logger

from opspawn.errors import StoreUnusable
from opspawn.stores import migrations, mounts
from opspawn.stores.holders import Holders
from opspawn.stores.layout import APPLICATION_ID, LAYOUT, WHOLE
from opspawn.stores.leftovers import Leftovers

T = TypeVar("T")

MEMORY = ":memory:"
RETRY_S = 0.001  # SQLite's own backoff sleeps up to 100 ms, far longer than a commit takes
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables; RETURNING came with 3.35
_LEAST_ROOM = 256 * 1024
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds the lock, so that trying again makes sense."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY


def begin(connection: sqlite3.Connection, busy_timeout_s: float, holders: Holders | None = None) -> None:
    """Start a writing transaction; while another process writes, try again every millisecond.

    After a while of waiting `holders` looks who it is that keeps the lock, and says so in the log.

    Raises: sqlite3.OperationalError: still busy after `busy_timeout_s` seconds.
    """
    began = None
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            began = began or now
            if not is_busy(error) or now - began >= busy_timeout_s:
                raise
            if holders is not None:
                holders.waited(now - began)
            time.sleep(RETRY_S)


def connect(path: str, busy_timeout_s: float, synchronous: str = "full", read_only: bool = False) -> sqlite3.Connection:
    """A connection with our settings, to be used by one thread at a time; it looks into nothing yet."""
    # A reader may have to wait while the file is being recovered; the writer waits in `begin`.
    timeout = busy_timeout_s if read_only else 0.0
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # see `checkpoints`
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_writer(path: str, busy_timeout_s: float, synchronous: Literal["full", "normal"]) -> sqlite3.Connection:
    """Open the database for writing and make it, with its folder, when it is not there yet.

    Raises: StoreUnusable: see the module. Nothing is left behind then that was not there before.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreUnusable(
            f"This Python brings SQLite {sqlite3.sqlite_version}, and the store needs 3.37 or newer.",
            remedy="Use a newer Python, or another store.",
        )
    if path == MEMORY:
        connection = connect(MEMORY, busy_timeout_s, synchronous)
        _lay_out(connection, path, busy_timeout_s)
        return connection
    leftovers = Leftovers(Path(path))
    try:
        _check_file(Path(path))
        return _patiently(lambda: _open_file(path, busy_timeout_s, synchronous), busy_timeout_s)
    except sqlite3.Error as error:
        leftovers.remove()
        raise _unusable(path, error, busy_timeout_s) from error
    except (OSError, ValueError) as error:
        leftovers.remove()
        raise StoreUnusable(
            f"The database {path!r} cannot be opened: {getattr(error, 'strerror', None) or error}.",
            remedy="Choose a path in a folder that this user may write to.",
        ) from error
    except StoreUnusable:
        leftovers.remove()
        raise


def _stays_empty(path: Path) -> bool:
    """Whether a file is empty, and nobody is about to make a database of it."""
    for pause in (0.05, 0.15, 0.3, 0.0):
        if not path.is_file() or path.stat().st_size > 0:
            return False
        time.sleep(pause)
    return True


def _check_file(path: Path) -> None:
    """Make the folder, for its owner alone: it holds prompts and answers. Refuse what SQLite would report less clearly.

    The file itself is not read here: closing it would drop the locks that another store of this process has on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_dir():
        raise StoreUnusable(f"The database {path} is a folder.", remedy="Give the path of a file.")
    # In this order: of a database that another process is making now, the folder comes after the first page.
    worked_with = Path(f"{path}.workers").is_dir()
    if _stays_empty(path):
        if worked_with:
            raise StoreUnusable(
                f"The database {path} is empty, and workers have worked with it: what was in it is lost.",
                remedy="Restore it from a backup; or remove the file, to begin anew.",
            )
        logger.warning("The database {} is an empty file: it begins as a new one, without any task.", path)
    sort = mounts.sort_of(path)
    if sort in mounts.NETWORK:
        raise StoreUnusable(
            f"The database {path} lies on a network file system ({sort}), where SQLite's locks do not hold.",
            remedy="Choose a path on a local disk, or a store that is a server.",
        )
    # In WAL mode SQLite lets a transaction begin on a file that it may only read, and fails at the first write.
    if path.exists() and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _read_only(str(path))


def _open_file(path: str, busy_timeout_s: float, synchronous: str) -> sqlite3.Connection:
    connection = connect(path, busy_timeout_s, synchronous)
    try:
        if 0 < _check_owner(connection, path) < LAYOUT:
            migrations.migrate(connection, path, busy_timeout_s)
        connection.execute("PRAGMA journal_mode = WAL")
        _lay_out(connection, path, busy_timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_owner(connection: sqlite3.Connection, path: str) -> int:
    """The layout, 0 for a new file. Refuse files of other programs and of newer versions, before anything is written.

    Raises: StoreUnusable.
    """
    version = migrations.version(connection)
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if not ours and not (empty and version == 0):
        raise StoreUnusable(f"The database {path} belongs to another program.", remedy="Choose another path.")
    if version > LAYOUT:
        raise StoreUnusable(
            f"The database {path} was made by a newer Opspawn (layout {version}; this one knows {LAYOUT}).",
            remedy="Upgrade opspawn-core, or choose another path.",
        )
    return version


def _patiently(attempt: Callable[[], T], busy_timeout_s: float) -> T:
    """What `attempt` gives. While another process recovers the file after a crash every look is refused: try again."""
    give_up = time.monotonic() + busy_timeout_s
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= give_up:
                raise
            time.sleep(RETRY_S)


def _lay_out(connection: sqlite3.Connection, path: str, busy_timeout_s: float) -> None:
    """Create what is missing. Taking the write lock also shows at once whether the file can be written."""
    if path != MEMORY and _check_owner(connection, path) == LAYOUT:  # nothing to do, and whoever reads needs no lock
        _read_through(connection)
        return
    begin(connection, busy_timeout_s)
    try:
        _check_owner(connection, path)  # again: another process may have been faster
        if connection.execute("PRAGMA user_version").fetchone()[0] == 0:
            for statement in (*WHOLE, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {LAYOUT}"):
                connection.execute(statement)
        _read_through(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _read_through(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT max(position) FROM events").fetchone()
    connection.execute("SELECT max(seq) FROM tasks").fetchone()


def _read_only(path: str) -> StoreUnusable:
    return StoreUnusable(
        f"The database {path} or its folder is read-only for this user.",
        remedy="Change the permissions, or choose another path.",
    )


def _not_a_database(path: str) -> StoreUnusable:
    return StoreUnusable(f"The file {path} is not a database.", remedy="Choose another path, or move the file away.")


def _is_full(path: str) -> bool:
    """Whether there is no room for the files beside the database, of which SQLite only says that they failed."""
    try:
        return shutil.disk_usage(Path(path).parent).free < _LEAST_ROOM
    except OSError:
        return False


def _unusable(path: str, error: sqlite3.Error, busy_timeout_s: float) -> StoreUnusable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        who, remedy = Holders(path).words()
        return StoreUnusable(f"The database {path} has been locked by {who} for {busy_timeout_s:g} s.", remedy=remedy)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _read_only(path)
    if code == sqlite3.SQLITE_NOTADB:
        return _not_a_database(path)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreUnusable(
            f"The disk of the database {path} is full.",
            remedy="Free space, or choose another path; nothing was changed.",
        )
    if code == sqlite3.SQLITE_CORRUPT or "no such" in str(error):
        return StoreUnusable(f"The database {path} is damaged ({error}).", remedy="Restore it from a backup.")
    return StoreUnusable(
        f"The database {path} cannot be opened ({error}).", remedy="Check the disk, or choose another path."
    )
