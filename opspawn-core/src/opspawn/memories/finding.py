"""Finding items: each function reads what is committed, with a connection of its own thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.memory import MemoryItem, MemoryStats
from opspawn.errors import EmbedderMismatch
from opspawn.memories.ranking import Candidate, dot
from opspawn.memories.rows import COLUMNS, item_of, vector_of
from opspawn.memories.words import is_prefix, terms

#: How many vectors one search compares at most, the newest items first.
MAX_COMPARED = 50_000


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate and its place in the database."""

    seq: int
    candidate: Candidate


def by_words(connection: sqlite3.Connection, text: str, most: int, condition: str, values: Sequence[Any]) -> list[int]:
    """The items that have all words, and the items best by BM25, at most so many of each."""
    wanted = terms(text)
    if not wanted:
        return []
    # A term has letters and digits only, so that quotes around it are enough; the whole is a value all the same.
    asked = [f'"{term}" *' if is_prefix(term) else f'"{term}"' for term in wanted]
    sql = (
        "SELECT i.seq FROM words JOIN items i ON i.seq = words.rowid "
        f"WHERE words MATCH ? AND {condition} ORDER BY bm25(words), i.seq DESC LIMIT ?"
    )

    def best(word: str) -> list[int]:
        return [seq for (seq,) in connection.execute(sql, [word.join(asked), *values, most])]

    some = best(" OR ")
    if len(some) < most or len(asked) == 1:
        return some
    return list(dict.fromkeys([*best(" AND "), *some]))


def cosines(
    connection: sqlite3.Connection, wanted: Sequence[float], model: str, condition: str, values: Sequence[Any]
) -> dict[int, float]:
    """The cosine of each item that has a vector. Raises: EmbedderMismatch: the vectors are another's."""
    kept = dict(connection.execute("SELECT key, value FROM meta"))
    if kept.get("embedder", model) != model or kept.get("dim", str(len(wanted))) != str(len(wanted)):
        raise EmbedderMismatch(
            f"{kept['embedder']!r} with {kept.get('dim', '?')} numbers", f"{model!r} with {len(wanted)}"
        )
    sql = f"SELECT i.seq, i.vector FROM items i WHERE i.vector_of = ? AND {condition} ORDER BY i.seq DESC LIMIT ?"
    rows = connection.execute(sql, [model, *values, MAX_COMPARED])
    return {seq: dot(wanted, vector_of(vector)) for seq, vector in rows}


def candidates(connection: sqlite3.Connection, seqs: Sequence[int], near: Mapping[int, float]) -> list[Found]:
    """The items of these places, in that order."""
    found: dict[int, MemoryItem] = {}
    for start in range(0, len(seqs), 500):
        some = seqs[start : start + 500]
        sql = f"SELECT {COLUMNS} FROM items i WHERE i.seq IN ({', '.join('?' * len(some))})"
        found |= {row[0]: item_of(row) for row in connection.execute(sql, some)}
    return [Found(seq, Candidate(found[seq], near.get(seq))) for seq in seqs if seq in found]


def without_vector(connection: sqlite3.Connection, model: str, most: int) -> tuple[int, list[tuple[int, str]]]:
    """How many items lack a vector of this embedder, and some of them."""
    lack = "FROM items WHERE vector_of IS NOT ?"
    (left,) = connection.execute(f"SELECT count(*) {lack}", (model,)).fetchone()
    return left, connection.execute(f"SELECT seq, text {lack} ORDER BY seq LIMIT ?", (model, most)).fetchall()


def stats(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> MemoryStats:
    """How much there is."""
    counted = f"FROM items i WHERE {condition}"
    items, vectors = connection.execute(f"SELECT count(*), count(i.vector) {counted}", values).fetchone()
    sql = f"SELECT i.namespace, count(*) AS n {counted} GROUP BY i.namespace ORDER BY n DESC, i.namespace LIMIT 100"
    rows = connection.execute(sql, values).fetchall()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    kept = dict(connection.execute("SELECT key, value FROM meta"))
    dim = int(kept["dim"]) if "dim" in kept else None
    spaces = tuple((tuple(json.loads(key)), count) for key, count in rows)
    return MemoryStats(items, spaces, pages * size, kept.get("embedder"), dim, vectors)
