"""Items as columns of the table. There may be thousands at once, so each column is made in one go."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from opspawn.contracts.memory import NOWHERE, MemoryItem, Namespace, Provenance
from opspawn.memories.items import key_of, stamp
from opspawn.memories.words import PREFIX, ascii_words, is_prefix, singular, words
from opspawn_memory_lancedb.rows import LONGEST, digest, fields_of, key_number, namespace_key, same_number

#: Words are found by their begins of these lengths; longer words also whole, up to `LONGEST` characters.
BEGINS = range(PREFIX, 17)
_WHENCE = tuple(field.name for field in fields(Provenance))


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


def entry_of(item: MemoryItem, seq: int, vector: Any) -> Entry:
    """The entry of an item that has its id and its times."""
    times = (stamp(item.created) or 0, stamp(item.updated) or 0, stamp(item.expires))
    return Entry(item, seq, key_number(item.namespace, item.id), same_number(item), vector, *times)


def table_of(entries: Sequence[Entry], schema: pa.Schema, vectors: str | None) -> pa.Table:
    """Entries as a table of this schema; `vectors` is its column of vectors, if it has one."""
    items = [entry.item for entry in entries]
    arrays = []
    for field in schema:
        if field.name == vectors:
            arrays.append(vectors_of([entry.vector for entry in entries], field.type.list_size))
        else:
            arrays.append(pa.array(_MADE[field.name](entries, items), field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def vectors_of(vectors: Sequence[Any], dim: int) -> pa.Array:
    """A column of vectors; one may be None."""
    count = len(vectors)
    kind = pa.list_(pa.float32(), dim)
    there = [one is not None for one in vectors]
    if not any(there):
        return pa.nulls(count, kind)
    if all(there):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(vectors), pa.float32()), dim)
    zero = np.zeros(dim, np.float32)
    flat = np.concatenate([zero if one is None else one for one in vectors])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim, mask=pa.array(~np.array(there)))


def terms_of(text: str) -> str:
    """The words of a text, and their begins, with spaces between them."""
    if text.isascii():
        return " ".join([_known(word) if len(word) <= LONGEST else _found_by(word) for word in ascii_words(text)])
    return " ".join(map(_found_by, words(text)))


def _found_by(word: str) -> str:
    if word.isascii():
        word = singular(word)
        begins = len(word) >= PREFIX
    else:
        begins = is_prefix(word)
    found = [word[:length] for length in BEGINS if length < len(word)] if begins else []
    return " ".join([*found, word[:LONGEST]])


_known = lru_cache(16_384)(_found_by)


@lru_cache(1024)
def _spaces(namespace: Namespace) -> list[str]:
    return [digest(key_of(namespace[:n])) for n in range(1, len(namespace) + 1)]


def _metadata(item: MemoryItem) -> str:
    return json.dumps(dict(item.metadata), ensure_ascii=False) if item.metadata else "{}"


def _provenance(item: MemoryItem) -> str:
    told = item.provenance
    if told is NOWHERE:
        return "{}"
    return json.dumps({name: value for name in _WHENCE if (value := getattr(told, name))}, ensure_ascii=False)


_Column = Callable[[Sequence[Entry], Sequence[MemoryItem]], Iterable[Any]]
#: How each column is made, of entries or of their items.
_MADE: dict[str, _Column] = {
    "seq": lambda entries, _: [one.seq for one in entries],
    "key": lambda entries, _: [one.key for one in entries],
    "same": lambda entries, _: [one.same for one in entries],
    "created": lambda entries, _: [one.created for one in entries],
    "updated": lambda entries, _: [one.updated for one in entries],
    "expires": lambda entries, _: [one.expires for one in entries],
    "space": lambda _, items: [_spaces(one.namespace)[-1] for one in items],
    "spaces": lambda _, items: [_spaces(one.namespace) for one in items],
    "fields": lambda _, items: [fields_of(one) for one in items],
    "namespace": lambda _, items: [namespace_key(one.namespace) for one in items],
    "id": lambda _, items: [one.id for one in items],
    "text": lambda _, items: [one.text for one in items],
    "terms": lambda _, items: [terms_of(one.text) for one in items],
    "subject": lambda _, items: [one.subject for one in items],
    "metadata": lambda _, items: [_metadata(one) for one in items],
    "provenance": lambda _, items: [_provenance(one) for one in items],
    "confidence": lambda _, items: [float(one.confidence) for one in items],
    "ttl_s": lambda _, items: [one.ttl_s for one in items],
    "refresh": lambda _, items: [bool(one.refresh) for one in items],
}
