"""Writing items: each function runs within a transaction of the writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from opspawn.contracts.memory import KEEP, Added, Change, Duplicates, MemoryItem, Namespace
from opspawn.errors import EmbedderMismatch, NotFound
from opspawn.memories.items import changed, key_of, moment, same, stamp
from opspawn.memories.rows import COLUMNS, WRITTEN, blob, item_of, values_of
from opspawn.memories.words import words


def add(
    connection: sqlite3.Connection,
    item: MemoryItem,
    vector: Sequence[float] | None,
    model: str | None,
    now: int,
    duplicates: Duplicates,
) -> Added:
    """Keep an item, unless it is there; what has expired does not count as there."""
    item = item if item.id else replace(item, id=f"m-{uuid4().hex[:24]}")
    key = key_of(item.namespace)
    if (known := _row(connection, "i.namespace = ? AND i.id = ?", (key, item.id))) is not None:
        if known[-1] is None or known[-1] > now:
            return Added(item_of(known), new=False)
        drop(connection, [known[0]])
    created, updated = min(now, stamp(item.created) or now), min(now, stamp(item.updated) or now)
    expires = stamp(item.expires) or (None if item.ttl_s is None else now + round(item.ttl_s * 1_000_000))
    if duplicates == "merge":
        alive = "i.namespace = ? AND i.same = ? AND (i.expires IS NULL OR i.expires > ?)"
        if (known := _row(connection, alive, (key, same(item), now))) is not None:
            sql = "UPDATE items SET confidence = max(confidence, ?), ttl_s = ?, expires = ?, updated = ? WHERE seq = ?"
            connection.execute(sql, (item.confidence, item.ttl_s, expires, now, known[0]))
            return Added(_item(connection, known[0]), new=False)
    times = (created, updated, expires)
    data = None if vector is None else blob(vector)
    names = (*WRITTEN, "created", "updated", "expires", "vector_of", "vector")
    cursor = connection.execute(
        f"INSERT INTO items ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
        (*values_of(item), *times, None if data is None else model, data),
    )
    connection.execute("INSERT INTO words (rowid, terms) VALUES (?, ?)", (cursor.lastrowid, " ".join(words(item.text))))
    return Added(_item(connection, int(cursor.lastrowid or 0)))


def update(
    connection: sqlite3.Connection,
    namespace: Namespace,
    id: str,
    change: Change,
    vector: Sequence[float] | None,
    model: str | None,
    now: int,
) -> MemoryItem:
    """Change an item. Raises: NotFound."""
    known = _row(connection, "i.namespace = ? AND i.id = ?", (key_of(namespace), id))
    if known is None or (known[-1] is not None and known[-1] <= now):
        raise NotFound("memory", id)
    before = item_of(known)
    item = replace(changed(before, change), updated=moment(now))
    if change.ttl_s is not KEEP:
        item = replace(item, expires=None if item.ttl_s is None else moment(now) + timedelta(seconds=item.ttl_s))
    expires = stamp(item.expires)
    settings = ", ".join(f"{name} = ?" for name in (*WRITTEN, "updated", "expires"))
    connection.execute(f"UPDATE items SET {settings} WHERE seq = ?", (*values_of(item), now, expires, known[0]))
    if item.text != before.text:
        data = None if vector is None else blob(vector)
        connection.execute(
            "UPDATE items SET vector_of = ?, vector = ? WHERE seq = ?",
            (None if data is None else model, data, known[0]),
        )
        connection.execute("UPDATE words SET terms = ? WHERE rowid = ?", (" ".join(words(item.text)), known[0]))
    return item


def drop(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    """Take items out of all tables."""
    places = [(seq,) for seq in seqs]
    connection.executemany("DELETE FROM words WHERE rowid = ?", places)
    connection.executemany("DELETE FROM items WHERE seq = ?", places)


def take_embedder(connection: sqlite3.Connection, model: str, dim: int) -> None:
    """Note whose vectors the memory has. Raises: EmbedderMismatch: they are another's."""
    kept = dict(connection.execute("SELECT key, value FROM meta"))
    if "embedder" not in kept or ("dim" not in kept and kept["embedder"] == model):
        rows = [("embedder", model), ("dim", str(dim))]
        connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)
        return
    if kept["embedder"] != model or kept["dim"] != str(dim):
        raise EmbedderMismatch(f"{kept['embedder']!r} with {kept.get('dim', '?')} numbers", f"{model!r} with {dim}")


def change_embedder(connection: sqlite3.Connection, model: str | None) -> None:
    """Have the vectors be of another embedder from now on; those of others do not count any more, and go."""
    before = connection.execute("SELECT value FROM meta WHERE key = 'embedder'").fetchone()
    if before == (model,):
        return
    connection.execute("DELETE FROM meta WHERE key IN ('embedder', 'dim')")
    if model is not None:
        connection.execute("INSERT INTO meta (key, value) VALUES ('embedder', ?)", (model,))
    connection.execute("UPDATE items SET vector_of = NULL, vector = NULL WHERE vector IS NOT NULL")


def set_vectors(connection: sqlite3.Connection, model: str, made: Sequence[tuple[Any, ...]]) -> None:
    """Give items their vectors: (seq, text, vector); those whose text has changed meanwhile are left out."""
    take_embedder(connection, model, len(made[0][2]))
    rows = [(model, blob(vector), seq, text) for seq, text, vector in made]
    connection.executemany("UPDATE items SET vector_of = ?, vector = ? WHERE seq = ? AND text = ?", rows)


def _row(connection: sqlite3.Connection, condition: str, values: Sequence[Any]) -> Any:
    return connection.execute(f"SELECT {COLUMNS} FROM items i WHERE {condition} LIMIT 1", values).fetchone()


def _item(connection: sqlite3.Connection, seq: int) -> MemoryItem:
    return item_of(_row(connection, "i.seq = ?", (seq,)))
