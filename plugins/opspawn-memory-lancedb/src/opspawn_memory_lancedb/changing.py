"""Changing an item that is there. The caller holds `writing`, and if the text changes also `tending`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from opspawn.contracts.memory import KEEP, Change, Namespace, Selection
from opspawn.errors import NotFound
from opspawn.memories.items import changed, moment
from opspawn_memory_lancedb import finding, removing
from opspawn_memory_lancedb.columns import Entry, entry_of
from opspawn_memory_lancedb.plan import replace_rows
from opspawn_memory_lancedb.table import Table
from opspawn_memory_lancedb.vectors import Vector
from opspawn_memory_lancedb.writing import check


def change(
    table: Table, namespace: Namespace, id: str, change: Change, now: int, made: tuple[str, Vector] | None
) -> Entry:
    """The item as it is kept now. `made` is an embedder and its vector of the new text, if there is one.

    Raises: NotFound, InvalidInput, EmbedderMismatch, MemoryFailed.
    """
    sql = finding.condition(table, Selection(namespace, ids=(id,)), now)
    if not (found := finding.newest(table, sql, 1)):
        raise NotFound("memory", id)
    item = replace(changed(found[0].item, change), updated=moment(now))
    if change.ttl_s is not KEEP:
        expires = None if item.ttl_s is None else moment(now) + timedelta(seconds=item.ttl_s)
        item = replace(item, expires=expires)
    kept = table.kept()
    if made is not None:
        check(kept, made[0], len(made[1]))
    [there] = finding.entries(table, [found[0].seq], kept)
    same = item.text == there.item.text
    entry = entry_of(item, there.seq, there.vector if same else made[1] if made is not None else None)
    replace_rows(table, [entry], kept)
    if not same:
        removing.wipe(table)
    return entry


def refresh(table: Table, seqs: Sequence[int], now: int) -> None:
    """Have items that are refreshed by use live on from now."""
    where = f"seq in ({', '.join(map(str, seqs))})"
    values = {"expires": f"greatest(expires, {now} + cast(ttl_s * 1000000 as bigint))"}
    table.change(lambda lance: lance.update(where=where, values_sql=values))
