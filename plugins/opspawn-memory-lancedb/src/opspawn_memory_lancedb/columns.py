"""Items as columns of the table. There may be thousands at once, so each column is made in one go, and what is the same
in all of them is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from json import JSONEncoder
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from opspawn.contracts.memory import NOWHERE, MemoryItem, Namespace, Provenance
from opspawn.memories.items import key_of, stamp
from opspawn_memory_lancedb.rows import KEPT, digest, fields_of, key_numbers, namespace_key, same_numbers

V = TypeVar("V")
_WHENCE = tuple(field.name for field in fields(Provenance))
_json = JSONEncoder(ensure_ascii=False).encode


@dataclass(slots=True, eq=False)
class Entry:
    """An item that is in the table, or will be: its place, the numbers it is looked up by, its vector, and its times
    in microseconds. `new` and `changed` say what has to be written.
    """

    item: MemoryItem
    seq: int
    key: int
    same: int
    vector: Any
    created: int
    updated: int
    expires: int | None
    new: bool = False
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Items, the ids they are kept by, and for each the same as an `Entry` has; `vectors` may be one array, or None."""

    items: Sequence[MemoryItem]
    ids: Sequence[str]
    seqs: Sequence[int]
    keys: Sequence[int]
    sames: Sequence[int]
    vectors: Any
    created: Sequence[int]
    updated: Sequence[int]
    expires: Sequence[int | None]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Rows:
        """Those of entries."""
        return cls(
            [one.item for one in entries],
            [one.item.id for one in entries],
            [one.seq for one in entries],
            [one.key for one in entries],
            [one.same for one in entries],
            [one.vector for one in entries],
            [one.created for one in entries],
            [one.updated for one in entries],
            [one.expires for one in entries],
        )


def entry_of(item: MemoryItem, seq: int, vector: Any) -> Entry:
    """The entry of an item that has its id and its times."""
    [key], [same] = key_numbers([item], [item.id]), same_numbers([item])
    times = (stamp(item.created) or 0, stamp(item.updated) or 0, stamp(item.expires))
    return Entry(item, seq, key, same, vector, *times)


def table_of(rows: Rows, schema: pa.Schema, vectors: str | None) -> pa.Table:
    """Rows as they are kept; `vectors` is the column of vectors of the table, which has this schema, if it has one."""
    arrays = [_MADE[field.name](rows, field.type) for field in KEPT]
    kinds = list(KEPT)
    if vectors is not None:
        kinds.append(schema.field(vectors))
        arrays.append(vectors_of(rows.vectors, len(rows.items), kinds[-1].type.list_size))
    return pa.Table.from_arrays(arrays, schema=pa.schema(kinds))


def vectors_of(vectors: Any, count: int, dim: int) -> pa.Array:
    """A column of vectors; one may be None, or all."""
    kind = pa.list_(pa.float32(), dim)
    there = [one is not None for one in vectors] if isinstance(vectors, list) else [vectors is not None]
    if not any(there):
        return pa.nulls(count, kind)
    if all(there):
        return pa.FixedSizeListArray.from_arrays(_numbers(np.asarray(vectors, np.float32).reshape(-1)), dim)
    zero = np.zeros(dim, np.float32)
    flat = np.concatenate([zero if one is None else one for one in vectors])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim, mask=pa.array(~np.array(there)))


# -- how a column is made ----------------------------------------------------------------------------------------------

_Column = Callable[[Rows, pa.DataType], pa.Array]


def _each(values: Callable[[Rows], Iterable[Any]]) -> _Column:
    """A column of values."""
    return lambda rows, kind: pa.array(values(rows), kind)


def _alike(values: Callable[[Rows], Sequence[V]], made: Callable[[V], Any]) -> _Column:
    """A column of what is made of values, which are mostly all the same."""

    def column(rows: Rows, kind: pa.DataType) -> pa.Array:
        found = values(rows)
        first, count = found[0], len(found)
        if found.count(first) < count:
            return pa.array(map(made, found), kind)
        return _repeated(made(first), count, kind)

    return column


def _repeated(value: Any, count: int, kind: pa.DataType) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    if not isinstance(value, list):
        return pa.repeat(pa.scalar(value, kind), count)
    begins = np.arange(count + 1, dtype=np.int32) * len(value)  # to repeat a list takes Arrow a microsecond for each
    return pa.ListArray.from_arrays(_numbers(begins), pa.array(value * count, kind.value_type))


def _seqs(rows: Rows, kind: pa.DataType) -> pa.Array:
    if isinstance(rows.seqs, range):
        return _numbers(np.arange(rows.seqs.start, rows.seqs.stop, dtype=np.int64))
    return pa.array(rows.seqs, kind)


def _numbers(array: Any) -> pa.Array:
    """An array of numpy as one of Arrow, whose own way begins with an import that takes 20 ms."""
    whole = np.ascontiguousarray(array)
    return pa.Array.from_buffers(pa.from_numpy_dtype(whole.dtype), len(whole), [None, pa.py_buffer(whole)])


@lru_cache(1024)
def _spaces(namespace: Namespace) -> list[str]:
    return [digest(key_of(namespace[:n])) for n in range(1, len(namespace) + 1)]


def _metadata(rows: Rows) -> list[str]:
    return [_json(dict(one.metadata)) if one.metadata else "{}" for one in rows.items]


def _provenance(rows: Rows) -> list[str]:
    """Where items are from, which several items often have in common."""
    told = [one.provenance for one in rows.items]
    made = {id(one): one for one in told}
    known = {key: _told(one) for key, one in made.items()}
    return [known[id(one)] for one in told]


def _told(told: Provenance) -> str:
    if told is NOWHERE:
        return "{}"
    return _json({name: value for name in _WHENCE if (value := getattr(told, name))})


def _namespaces(rows: Rows) -> list[Namespace]:
    return [one.namespace for one in rows.items]


#: How each column is made.
_MADE: dict[str, _Column] = {
    "seq": _seqs,
    "key": _each(lambda rows: rows.keys),
    "same": _each(lambda rows: rows.sames),
    "created": _alike(lambda rows: rows.created, int),
    "updated": _alike(lambda rows: rows.updated, int),
    "expires": _alike(lambda rows: rows.expires, lambda one: one),
    "space": _alike(_namespaces, lambda one: _spaces(one)[-1]),
    "spaces": _alike(_namespaces, _spaces),
    "fields": _alike(lambda rows: list(map(fields_of, rows.items)), lambda one: one),
    "namespace": _alike(_namespaces, namespace_key),
    "id": _each(lambda rows: rows.ids),
    "text": _each(lambda rows: [one.text for one in rows.items]),
    "subject": _alike(lambda rows: [one.subject for one in rows.items], str),
    "metadata": _alike(_metadata, str),
    "provenance": _alike(_provenance, str),
    "confidence": _alike(lambda rows: [one.confidence for one in rows.items], float),
    "ttl_s": _alike(lambda rows: [one.ttl_s for one in rows.items], lambda one: one),
    "refresh": _alike(lambda rows: [one.refresh for one in rows.items], bool),
}
