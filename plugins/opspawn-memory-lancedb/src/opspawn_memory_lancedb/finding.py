"""Finding items: by words (BM25), by vectors, and what selects them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import numpy as np
import pyarrow as pa
from lancedb.query import MatchQuery

from opspawn.contracts.filters import matches
from opspawn.contracts.memory import MemoryItem, Namespace, Selection
from opspawn.memories.ranking import Candidate, fused
from opspawn.memories.words import terms
from opspawn_memory_lancedb.conditions import ALL, where
from opspawn_memory_lancedb.rows import ITEM, LONGEST, SCHEMA, item_of
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.table import Kept, Table
from opspawn_memory_lancedb.vectors import Vector


@dataclass(frozen=True, slots=True)
class Found:
    """An item, and its place."""

    seq: int
    item: MemoryItem


def condition(table: Table, select: Selection, now: int) -> str:
    """What a selection means, exactly; where a query cannot say it, as the numbers of the rows that fit."""
    told = where(select, now, expiring=table.expiring)
    if told.exact or select.filter is None:
        return told.sql
    fit = [row["seq"] for row in table.rows(told.sql, list(ITEM)).to_pylist() if _fits(select, row)]
    return f"seq in ({', '.join(map(str, fit))})" if fit else "false"


def _fits(select: Selection, row: dict[str, Any]) -> bool:
    return select.filter is None or matches(select.filter, item_of(row).fields())


def newest(table: Table, sql: str, limit: int) -> list[Found]:
    """The newest items that fit."""
    rows = table.rows(sql, list(ITEM), newest=True, limit=limit).to_pylist()
    return [Found(row["seq"], item_of(row)) for row in rows]


def by_words(table: Table, query: str, sql: str, most: int, kept: Kept | None) -> pa.Table | None:
    """The items best by BM25; None if the query has no words."""
    wanted = " ".join(term[:LONGEST] for term in terms(query))
    if not wanted:
        return None
    columns = [*ITEM, *([] if kept is None else [kept.column])]

    match: Any = MatchQuery  # its types ask for what has defaults

    def work(lance: Any) -> pa.Table:
        asked = lance.search(match(wanted, "terms"), query_type="fts")
        if sql != ALL:
            asked = asked.where(sql, prefilter=True)
        return asked.select([*columns, "_score"]).limit(most).to_arrow()

    return table.ask(work)


def by_vector(table: Table, wanted: Vector, sql: str, most: int, kept: Kept, config: LanceConfig) -> pa.Table:
    """The items nearest by vector: of few, by comparing all; of many, of those parts of the index that are near."""
    few = kept.column not in table.indexes() or (sql != ALL and table.count(sql) < config.index_from)
    probes = 1 if few else max(1, ceil(config.probe * table.rows_in_all**0.5))

    def work(lance: Any) -> pa.Table:
        asked = lance.search(wanted, vector_column_name=kept.column, query_type="vector").distance_type("cosine")
        asked = asked.bypass_vector_index() if few else asked.minimum_nprobes(probes).maximum_nprobes(0)
        if sql != ALL:
            asked = asked.where(sql, prefilter=True)
        return asked.select([*ITEM, kept.column, "_distance"]).limit(most).to_arrow()

    return table.ask(work)


def candidates(
    words: pa.Table | None, near: pa.Table | None, wanted: Vector | None, kept: Kept | None, most: int
) -> list[tuple[int, Candidate]]:
    """What was found, best first, each with its place and its cosine."""
    rows: dict[int, dict[str, Any]] = {}
    cosines: dict[int, float] = {}
    lists: list[list[int]] = []
    for found, score, sign in ((words, "_score", -1), (near, "_distance", 1)):
        if found is None:
            continue
        if wanted is not None and kept is not None:
            cosines |= _cosines(found, wanted, kept)
        some = found.select([*ITEM, score]).to_pylist()
        rows |= {row["seq"]: row for row in some}
        some.sort(key=lambda row: (sign * round(row[score], 5), -row["seq"]))
        lists.append([row["seq"] for row in some if score == "_score" or cosines.get(row["seq"], 0.0) > 0])
    best = fused(*lists)[: 2 * most]
    return [(seq, Candidate(item_of(rows[seq]), cosines.get(seq))) for seq in best]


def _cosines(found: pa.Table, wanted: Vector, kept: Kept) -> dict[int, float]:
    column = found[kept.column].combine_chunks()
    if not len(column) or column.null_count == len(column):
        return {}
    # `flatten` leaves out those that are missing.
    cosines = np.asarray(column.flatten()).reshape(-1, kept.dim) @ wanted
    seqs = found["seq"].filter(column.is_valid()).to_pylist()
    return dict(zip(seqs, cosines.tolist(), strict=True))


def namespaces(table: Table, sql: str) -> tuple[tuple[Namespace, int], ...]:
    """How many items each namespace has, the largest first."""
    counted = table.rows(sql, ["namespace"])["namespace"].value_counts().to_pylist()
    counted.sort(key=lambda one: (-one["counts"], one["values"]))
    return tuple((tuple(json.loads(one["values"])), one["counts"]) for one in counted[:100])


def without_vector(table: Table, kept: Kept | None, most: int) -> tuple[int, list[tuple[int, str]]]:
    """How many items lack a vector, and some of them."""
    lack = ALL if kept is None else f"{kept.column} is null"
    some: Sequence[dict[str, Any]] = table.rows(lack, ["seq", "text"], limit=most).to_pylist()
    return table.count(lack), [(row["seq"], row["text"]) for row in some]


def whole(table: Table, seqs: Sequence[int]) -> list[dict[str, Any]]:
    """Rows with all columns but vectors."""
    listed = ", ".join(map(str, seqs))
    return cast("list[dict[str, Any]]", table.rows(f"seq in ({listed})", SCHEMA.names).to_pylist())


def vector(table: Table, seq: int, kept: Kept | None) -> list[float] | None:
    """The vector of a row."""
    if kept is None:
        return None
    [one] = table.rows(f"seq = {seq}", [kept.column])[kept.column].to_pylist()
    return cast("list[float] | None", one)
