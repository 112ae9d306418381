"""Opening the table, or making it."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from opspawn.errors import MemoryUnusable, OpspawnError
from opspawn.memories.asking import other_layout
from opspawn_memory_lancedb.disk import Disk
from opspawn_memory_lancedb.faults import told
from opspawn_memory_lancedb.lance import lancedb
from opspawn_memory_lancedb.locks import FileLock
from opspawn_memory_lancedb.log import SUFFIX
from opspawn_memory_lancedb.rows import LAYOUT, SCHEMA, digest
from opspawn_memory_lancedb.table import NAME, Table, column_for

_RESTORE = "Restore the folder from a backup"


def open_table(
    uri: str, data: str, options: Mapping[str, str], busy_timeout_s: float, vectors: tuple[str, int] | None = None
) -> Table:
    """Open the table, or make it, then for `vectors` of this embedder, so long. Raises: MemoryUnusable."""
    try:
        # Where there is no folder for locks, they lie on this machine, in the data folder.
        locks = Path(data) / f"memory-{digest(uri)[:16]}.locks" if "://" in uri else Path(uri)
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "writing.lock").held(busy_timeout_s):
            return _opened(uri, locks, options, busy_timeout_s, vectors)
    except OpspawnError:
        raise
    except Exception as error:
        raise unusable(uri, told(error), _remedy(error)) from error


def _opened(
    uri: str, locks: Path, options: Mapping[str, str], busy_timeout_s: float, vectors: tuple[str, int] | None
) -> Table:
    if "://" not in uri:
        _check_whole(Path(uri))
    connection = lancedb.connect(uri, storage_options=dict(options) or None)
    if NAME not in connection.list_tables(limit=1000).tables:
        schema = SCHEMA if vectors is None else SCHEMA.append(column_for(*vectors))
        table = Table(connection.create_table(NAME, schema=schema), uri, locks, busy_timeout_s)
        table.index_words()
        table.sync()
        return table
    opened = connection.open_table(NAME)
    layout = (opened.schema.metadata or {}).get(b"opspawn.layout", b"").decode()
    if not layout:
        raise unusable(uri, f"its table {NAME!r} is of something else")
    if layout != LAYOUT:
        words = f"its layout is {layout}, and this version of Opspawn knows {LAYOUT}"
        raise unusable(uri, words, other_layout(layout, LAYOUT, "opspawn-memory-lancedb"))
    table = Table(opened, uri, locks, busy_timeout_s)
    if "terms" not in table.indexes():
        table.index_words()
    return table


def _check_whole(place: Path) -> None:
    """Raises: MemoryUnusable: the table, or its latest version, is gone; to go on would be to forget in silence."""
    disk = Disk(place / f"{NAME}.lance")
    version = disk.version()
    if lacking := disk.lacks():
        there = f"the latest there is {version}" if version else "there is none"
        words = f"version {lacking} of its table is missing, and {there}"
        raise unusable(str(place), words, f"{_RESTORE}; to go on with what is there, remove {disk.latest}.")
    waiting = sorted((place / "added").glob(f"*{SUFFIX}"))
    if not version and waiting:
        words = f"its table is missing, though {len(waiting)} logs of added items are there"
        raise unusable(str(place), words, f"{_RESTORE}, or remove {waiting[0].parent} to begin anew.")


def unusable(uri: str, words: str, remedy: str | None = None) -> MemoryUnusable:
    """The error of a memory that cannot be opened."""
    away = "Correct uri and storage_options in [plugins.lancedb]."
    here = "Correct uri in [plugins.lancedb], or restore the folder from a backup."
    return MemoryUnusable(
        f"The memory {uri!r} cannot be used: {words}.", remedy=remedy or (away if "://" in uri else here)
    )


def _remedy(error: BaseException) -> str | None:
    """What helps where the folder cannot be written."""
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return (
            "Have its folder be writable: who reads takes locks there, too. Or name another uri in [plugins.lancedb]."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Make room on its disk by other files than its own."
    return None
