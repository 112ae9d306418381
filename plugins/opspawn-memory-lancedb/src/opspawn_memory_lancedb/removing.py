"""Forgetting, so that nothing is left: neither in the table, nor in its earlier versions, nor in an index.

Lance only notes that a row is gone, and keeps its file, as the indexes keep their words and vectors. So the files that
hold such rows are written anew, the indexes begin again, empty (what they do not know is looked at row by row, so that
nothing is missed meanwhile, and they are filled in the background), and all earlier versions are deleted. This happens
before `forget` returns, under both locks. What a file system or a disk keeps of deleted files is beyond this.
"""

from __future__ import annotations

from opspawn_memory_lancedb.caching import empty_cache
from opspawn_memory_lancedb.table import Table


def delete(table: Table, sql: str) -> None:
    """Take out the rows that fit."""
    table.change(lambda lance: lance.delete(sql))


def wipe(table: Table) -> None:
    """Leave nothing of rows that were taken out or changed. The caller holds both locks."""
    kept = table.kept()
    if kept is not None:
        table.drop_index(kept.column)
    table.index_words()
    touched = None if table.disk is None else table.disk.touched()
    if touched is None:
        table.change(lambda lance: lance.update(where="true", values_sql={"seq": "seq"}))
    elif touched:
        # A row's number is that of its fragment, and its place in it.
        places = " or ".join(f"(_rowid >= {one << 32} and _rowid < {(one + 1) << 32})" for one in sorted(touched))
        table.change(lambda lance: lance.update(where=places, values_sql={"seq": "seq"}))
    table.tidy_all()
    if table.place is not None:
        empty_cache(table.place)
