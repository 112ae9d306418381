"""Opening the table, or making it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from opspawn.errors import MemoryUnusable, OpspawnError
from opspawn_memory_lancedb.faults import told
from opspawn_memory_lancedb.lance import lancedb
from opspawn_memory_lancedb.locks import FileLock
from opspawn_memory_lancedb.rows import LAYOUT, SCHEMA, digest
from opspawn_memory_lancedb.table import NAME, Table, column_for


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
        raise unusable(uri, told(error)) from error


def _opened(
    uri: str, locks: Path, options: Mapping[str, str], busy_timeout_s: float, vectors: tuple[str, int] | None
) -> Table:
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
        raise unusable(uri, f"its layout is {layout}, and this version of Opspawn knows {LAYOUT}")
    table = Table(opened, uri, locks, busy_timeout_s)
    if "terms" not in table.indexes():
        table.index_words()
    return table


def unusable(uri: str, words: str) -> MemoryUnusable:
    """The error of a memory that cannot be opened."""
    away = "uri and storage_options in [plugins.lancedb]"
    here = "uri in [plugins.lancedb], or restore the folder from a backup"
    return MemoryUnusable(
        f"The memory {uri!r} cannot be used: {words}.", remedy=f"Correct {away if '://' in uri else here}."
    )
