"""Finding items: by words (BM25), by vectors, and what selects them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from opspawn.contracts.filters import matches
from opspawn.contracts.memory import Hit, MemoryItem, Namespace, Selection
from opspawn.memories.ranking import Candidate, fused
from opspawn.memories.words import found_in, terms, words
from opspawn_memory_lancedb.columns import Entry
from opspawn_memory_lancedb.conditions import ALL, where
from opspawn_memory_lancedb.lance import AND, MatchQuery
from opspawn_memory_lancedb.packing import COLUMN, ITEM, item_of, place_of, unpacked
from opspawn_memory_lancedb.plan import entry_columns, entry_in
from opspawn_memory_lancedb.rows import LONGEST
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.table import Kept, Table, parts_of
from opspawn_memory_lancedb.vectors import Vector

#: How many times as many as are wanted are compared exactly.
_MORE = 2
#: What an item with all words of a query has above others; scores of BM25 are far below.
_WHOLE = 10_000.0


@dataclass(frozen=True, slots=True)
class Found:
    """An item, its place, and, if it was searched for, how near it is."""

    seq: int
    item: MemoryItem
    hit: Hit | None = None


def condition(table: Table, select: Selection, now: int) -> str:
    """What a selection means, exactly; where a query cannot say it, as the numbers of the rows that fit."""
    told = where(select, now, expiring=table.expiring)
    if told.exact or select.filter is None:
        return told.sql
    fit = [place_of(row) for row in table.rows(told.sql, list(ITEM)).to_pylist() if _fits(select, row)]
    return f"seq in ({', '.join(map(str, fit))})" if fit else "false"


def _fits(select: Selection, row: dict[str, Any]) -> bool:
    return select.filter is None or matches(select.filter, item_of(row).fields())


def newest(table: Table, sql: str, limit: int) -> list[Found]:
    """The newest items that fit."""
    rows = table.rows(sql, ["seq", *ITEM], newest=True, limit=limit).to_pylist()
    return [Found(row["seq"], item_of(row)) for row in rows]


def by_words(table: Table, query: str, sql: str, most: int, kept: Kept | None) -> pa.Table | None:
    """The items that have all words, and the items best by BM25, at most so many of each, by "_score"; those with all
    words come first, and may come twice. None if the query has no words.
    """
    wanted = [term[:LONGEST] for term in terms(query)]
    if not wanted:
        return None
    columns = [*ITEM, *([] if kept is None else [kept.column]), "_score"]
    match: Any = MatchQuery  # its types ask for what has defaults

    def best(**how: Any) -> pa.Table:
        asked = match(" ".join(wanted), "terms", **how)
        return table.ask(lambda lance: _rows(lance.search(asked, query_type="fts"), table, sql, columns, most))

    some = best()
    if len(some) < most or len(wanted) == 1 or _have_all(some, query) >= most // 5:  # as many as are wanted
        return some
    whole = best(operator=AND)
    return pa.concat_tables([_scored(whole, _WHOLE), _scored(some, 0.0)])


def _have_all(found: pa.Table, query: str) -> int:
    """How many have all words of a query; to look is sooner done than another search."""
    wanted = terms(query)
    texts = (item_of(row).text for row in found.select(list(ITEM)).to_pylist())
    return sum(len(found_in(wanted, set(words(text)))) == len(wanted) for text in texts)


def _scored(found: pa.Table, more: float) -> pa.Table:
    scores = pa.array([more + score for score in found["_score"].to_pylist()], pa.float64())
    return found.set_column(found.column_names.index("_score"), "_score", scores)


def by_vector(table: Table, wanted: Vector, sql: str, most: int, kept: Kept, config: LanceConfig) -> pa.Table:
    """The items nearest by vector: of few, by comparing all; of many, by the index, which has bytes for numbers and so
    names some more, the nearest of which are then known exactly.
    """
    parts = parts_of(table.indexes().get(kept.column))
    few = not parts or (not _is_all(table, sql) and table.count(sql) < config.index_from)
    probes = max(1, ceil(config.probe * parts))

    def work(lance: Any) -> pa.Table:
        asked = lance.search(wanted, vector_column_name=kept.column, query_type="vector").distance_type("cosine")
        if few:
            asked = asked.bypass_vector_index()
        else:
            asked = asked.minimum_nprobes(probes).maximum_nprobes(0).refine_factor(_MORE)
        return _rows(asked, table, sql, [*ITEM, "_distance"], most)

    return table.ask(work)


def _rows(asked: Any, table: Table, sql: str, columns: list[str], most: int) -> pa.Table:
    if not _is_all(table, sql):
        asked = asked.where(sql, prefilter=True)
    return asked.select(columns).limit(most).to_arrow()


def _is_all(table: Table, sql: str) -> bool:
    """Whether a condition leaves nothing out; one that does not costs as much as one that does."""
    return sql == ALL or table.count(sql) == table.rows_in_all


def candidates(
    words: pa.Table | None, near: pa.Table | None, wanted: Vector | None, kept: Kept | None, most: int
) -> list[tuple[int, Candidate]]:
    """What was found, best first, each with its place and its cosine."""
    items: dict[int, MemoryItem] = {}
    cosines: dict[int, float] = {}
    lists: list[list[int]] = []
    if words is not None:
        if wanted is not None and kept is not None:
            cosines |= _cosines(words, wanted, kept)
        some = [(-round(row["_score"], 5), -place_of(row), row) for row in words.select([*ITEM, "_score"]).to_pylist()]
        lists.append(_places(some, items))
    if near is not None:
        some = [(round(row["_distance"], 5), -place_of(row), row) for row in near.to_pylist()]
        cosines |= {-place: 1.0 - row["_distance"] for _, place, row in some}
        lists.append([seq for seq in _places(some, items) if cosines[seq] > 0])
    best = fused(*lists)[: 2 * most]
    return [(seq, Candidate(items[seq], cosines.get(seq))) for seq in best]


def _places(found: list[tuple[float, int, dict[str, Any]]], items: dict[int, MemoryItem]) -> list[int]:
    """The places of rows, best first, whose items go into `items`."""
    found.sort(key=lambda one: one[:2])
    for _, place, row in found:
        if -place not in items:
            items[-place] = item_of(row)
    return list(dict.fromkeys(-place for _, place, _ in found))


def _cosines(found: pa.Table, wanted: Vector, kept: Kept) -> dict[int, float]:
    column = found[kept.column].combine_chunks()
    if not len(column) or column.null_count == len(column):
        return {}
    # `flatten` leaves out those that are missing.
    cosines = np.asarray(column.flatten()).reshape(-1, kept.dim) @ wanted
    seqs = [place_of(row) for row in found.select([COLUMN]).filter(column.is_valid()).to_pylist()]
    return dict(zip(seqs, cosines.tolist(), strict=True))


def namespaces(table: Table, sql: str) -> tuple[tuple[Namespace, int], ...]:
    """How many items each namespace has, the largest first."""
    counted = table.rows(sql, ["namespace"])["namespace"].value_counts().to_pylist()
    counted.sort(key=lambda one: (-one["counts"], one["values"]))
    return tuple((tuple(json.loads(one["values"])), one["counts"]) for one in counted[:100])


def without_vector(table: Table, kept: Kept | None, most: int) -> tuple[int, list[tuple[int, str]]]:
    """How many items lack a vector, and some of them."""
    lack = ALL if kept is None else f"{kept.column} is null"
    some = [unpacked(row) for row in table.rows(lack, list(ITEM), limit=most).to_pylist()]
    return table.count(lack), [(one.seq, one.item.text) for one in some]


def entries(table: Table, seqs: Sequence[int], kept: Kept | None) -> list[Entry]:
    """The rows with these numbers."""
    found = table.rows(f"seq in ({', '.join(map(str, seqs))})", entry_columns(kept))
    return [entry_in(row, kept) for row in found.to_pylist()]
