"""Giving all items the vectors of another embedder, a thousand at a time; what is broken off goes on next time."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn_memory_lancedb import finding, removing
from opspawn_memory_lancedb.plan import replace_rows
from opspawn_memory_lancedb.table import Kept, Table
from opspawn_memory_lancedb.vectors import Vectors
from opspawn_memory_lancedb.writing import check


def change_embedder(table: Table, model: str | None) -> None:
    """Have no vectors of another embedder. The caller holds both locks."""
    kept = table.kept()
    if kept is not None and kept.model != model:
        table.drop_vectors(kept)
        removing.wipe(table)


def without_vector(table: Table, most: int) -> tuple[Kept | None, int, list[tuple[int, str]]]:
    """Whose vectors there are, how many items lack one, and some of these."""
    kept = table.kept()
    return kept, *finding.without_vector(table, kept, most)


def set_vectors(table: Table, model: str, some: Sequence[tuple[int, str]], vectors: Vectors, kept: Kept | None) -> None:
    """Give rows their vectors, but for those whose text has changed meanwhile. The caller holds `writing`."""
    kept = kept or table.kept()
    if kept is None:
        table.take_vectors(model, len(vectors[0]))
        kept = table.kept()
    check(kept, model, len(vectors[0]))
    made = {seq: (text, vector) for (seq, text), vector in zip(some, vectors, strict=True)}
    fresh = []
    for entry in finding.entries(table, list(made), kept):
        text, entry.vector = made[entry.seq]
        if text == entry.item.text:
            fresh.append(entry)
    if fresh:
        replace_rows(table, fresh, kept)
