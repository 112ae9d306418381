"""Items as rows of the table and back.

What a query may name is a number or a digest in hexadecimal: namespaces, ids, and the values of fields, each with its
type. So no text of anybody is ever part of a query, whatever it looks like.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from opspawn.contracts.memory import MemoryItem, Namespace, Provenance
from opspawn.memories.items import key_of, moment, same, stamp
from opspawn.memories.words import is_prefix, words

LAYOUT = "1"
#: Words are found by their begins of these lengths; longer words also whole, up to `LONGEST` characters.
BEGINS = range(4, 17)
LONGEST = 64

COLUMNS = (
    pa.field("seq", pa.int64(), nullable=False),  # the order of keeping
    pa.field("key", pa.int64(), nullable=False),  # of namespace and id
    pa.field("same", pa.int64(), nullable=False),  # of namespace, subject and words
    pa.field("space", pa.string(), nullable=False),  # the namespace, as a digest
    pa.field("spaces", pa.list_(pa.string()), nullable=False),  # those that it begins with, itself included
    pa.field("fields", pa.list_(pa.string()), nullable=False),  # the fields of filters, as digests
    pa.field("namespace", pa.string(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("terms", pa.string(), nullable=False),  # the words, and their begins, for the index of words
    pa.field("subject", pa.string(), nullable=False),
    pa.field("metadata", pa.string(), nullable=False),
    pa.field("provenance", pa.string(), nullable=False),
    pa.field("confidence", pa.float64(), nullable=False),
    pa.field("ttl_s", pa.float64()),
    pa.field("refresh", pa.bool_(), nullable=False),
    pa.field("created", pa.int64(), nullable=False),  # microseconds
    pa.field("updated", pa.int64(), nullable=False),
    pa.field("expires", pa.int64()),
)
SCHEMA = pa.schema(COLUMNS, metadata={"opspawn.layout": LAYOUT})
#: What `item_of` reads.
ITEM = (
    "seq",
    "namespace",
    "id",
    "text",
    "subject",
    "metadata",
    "provenance",
    "confidence",
    "ttl_s",
    "refresh",
    "created",
    "updated",
    "expires",
)
#: Fields that filters compare as texts, and that are kept as numbers.
TIMES = ("@created", "@updated")
_NOBODY = Provenance()
_WHENCE = tuple(field.name for field in fields(Provenance))
Row = dict[str, Any]


def row_of(item: MemoryItem, seq: int) -> Row:
    """The row of an item that has its id and its times."""
    told = item.provenance
    spaces = _spaces(item.namespace)
    return {
        "seq": seq,
        "key": key_number(item.namespace, item.id),
        "same": same_number(item),
        "space": spaces[-1],
        "spaces": spaces,
        "fields": _fields(item),
        "namespace": _key(item.namespace),
        "id": item.id,
        "text": item.text,
        "terms": terms_of(item.text),
        "subject": item.subject,
        "metadata": json.dumps(dict(item.metadata), ensure_ascii=False) if item.metadata else "{}",
        "provenance": "{}" if told == _NOBODY else json.dumps(_told(told), ensure_ascii=False),
        "confidence": float(item.confidence),
        "ttl_s": item.ttl_s,
        "refresh": bool(item.refresh),
        "created": stamp(item.created),
        "updated": stamp(item.updated),
        "expires": stamp(item.expires),
    }


def _told(provenance: Provenance) -> dict[str, str]:
    return {name: value for name in _WHENCE if (value := getattr(provenance, name))}


@lru_cache(1024)
def _spaces(namespace: Namespace) -> list[str]:
    return [digest(key_of(namespace[:n])) for n in range(1, len(namespace) + 1)]


def item_of(row: Mapping[str, Any]) -> MemoryItem:
    """The item of a row."""
    return MemoryItem(
        row["text"],
        tuple(json.loads(row["namespace"])),
        row["id"],
        json.loads(row["metadata"]),
        row["subject"],
        Provenance(**json.loads(row["provenance"])),
        row["confidence"],
        row["ttl_s"],
        row["refresh"],
        moment(row["created"]),
        moment(row["updated"]),
        None if row["expires"] is None else moment(row["expires"]),
    )


def table_of(rows: Sequence[Row], schema: pa.Schema, vectors: Sequence[Any] | None, column: str | None) -> pa.Table:
    """Rows as a table of this schema; a vector may be None."""
    arrays = [
        vectors_of(vectors, field.type.list_size, len(rows))
        if field.name == column
        else pa.array([row[field.name] for row in rows], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def vectors_of(vectors: Sequence[Any] | None, dim: int, count: int) -> pa.Array:
    """A column of vectors."""
    kind = pa.list_(pa.float32(), dim)
    if vectors is None or all(one is None for one in vectors):
        return pa.nulls(count, kind)
    missing = np.array([one is None for one in vectors])
    zero = np.zeros(dim, np.float32)
    flat = np.concatenate([zero if one is None else one for one in vectors]).astype(np.float32, copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), dim, mask=pa.array(missing) if missing.any() else None)


def terms_of(text: str) -> str:
    """The words of a text, and their begins, with spaces between them."""
    return " ".join([_found_by(word) for word in words(text)])


@lru_cache(16384)
def _found_by(word: str) -> str:
    begins = [word[:length] for length in BEGINS if length < len(word)] if is_prefix(word) else []
    return " ".join([*begins, word[:LONGEST]])


# -- digests -----------------------------------------------------------------------------------------------------------


def digest(text: str) -> str:
    """A text as 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def key_number(namespace: Namespace, id: str) -> int:
    """What an item is looked up by. Two may share it, so what is found is compared."""
    return _number(f"{_key(namespace)}\0{id}".encode())


def same_number(item: MemoryItem) -> int:
    """What those have in common that say the same in one namespace. Others may have it, too, by chance."""
    return _number(same(item) + _key(item.namespace).encode())


def _fields(item: MemoryItem) -> list[str]:
    """What filters and selections look for."""
    found = [has("@id", item.id), *_known(("@confidence", float(item.confidence)))]
    if item.subject:
        found += _known(("@subject", item.subject))
    if item.provenance != _NOBODY:
        for name in ("session", "source", "who", "agent", "run"):
            if value := getattr(item.provenance, name):
                found += _known((f"@{name}", value))
    for name, value in item.metadata.items():
        found += told_of(name, value)
    return found


@lru_cache(4096)
def _known(field: tuple[str, str | float]) -> list[str]:
    return told_of(*field)


@lru_cache(1024)
def _key(namespace: Namespace) -> str:
    return key_of(namespace)


def told_of(name: str, value: Any) -> list[str]:
    """What a field is found by: that it is there, and each of its values."""
    if value is None:
        return []
    members = value if isinstance(value, list | tuple) else (value,)
    return [there(name), *(has(name, one) for one in members if one is not None)]


def there(name: str) -> str:
    """A field that is there."""
    return digest(json.dumps([name]))


def has(name: str, value: Any) -> str:
    """A field with a value. 1 is 1.0, and neither "1" nor true."""
    if isinstance(value, bool):
        return digest(json.dumps([name, "b", value]))
    if isinstance(value, int | float):
        return digest(json.dumps([name, "n", int(value) if value == int(value) else value]))
    return digest(json.dumps([name, "t", value]))


def _number(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
