"""Items as rows of the database and back, and selections as conditions, whose values are never part of the text."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from opspawn.contracts.memory import MemoryItem, Provenance, Selection
from opspawn.memories.items import key_of, moment, same

#: The columns that `values_of` gives.
WRITTEN = (
    "namespace",
    "id",
    "text",
    "same",
    "subject",
    "session",
    "metadata",
    "provenance",
    "confidence",
    "ttl_s",
    "refresh",
)
#: The columns of an item, in the order of `item_of`.
COLUMNS = (
    "i.seq, i.namespace, i.id, i.text, i.subject, i.metadata, i.provenance, i.confidence, i.ttl_s, i.refresh, "
    "i.created, i.updated, i.expires"
)


def item_of(row: Sequence[Any]) -> MemoryItem:
    """The item of a row."""
    _, namespace, id, text, subject, metadata, provenance, confidence, ttl_s, refresh, created, updated, expires = row
    return MemoryItem(
        text,
        tuple(json.loads(namespace)),
        id,
        json.loads(metadata),
        subject,
        Provenance(**json.loads(provenance)),
        confidence,
        ttl_s,
        bool(refresh),
        moment(created),
        moment(updated),
        None if expires is None else moment(expires),
    )


def values_of(item: MemoryItem) -> tuple[Any, ...]:
    """Of an item what `WRITTEN` names."""
    told = {name: value for name, value in asdict(item.provenance).items() if value}
    return (
        key_of(item.namespace),
        item.id,
        item.text,
        same(item),
        item.subject,
        item.provenance.session,
        json.dumps(dict(item.metadata), ensure_ascii=False),
        json.dumps(told, ensure_ascii=False),
        item.confidence,
        item.ttl_s,
        int(item.refresh),
    )


def blob(vector: Sequence[float]) -> bytes:
    """A vector as it is stored: 4 bytes a number, in the order of this machine."""
    return array("f", vector).tobytes()


def vector_of(data: bytes) -> array[float]:
    """The vector again."""
    vector = array("f")
    vector.frombytes(data)
    return vector


def where(select: Selection, now: int) -> tuple[str, list[Any]]:
    """The condition of a selection on `items i`, and its values; with a filter it calls the function `fits`."""
    parts, values = ["(i.expires IS NULL OR i.expires > ?)"], [now]
    told: list[Any] = values
    key = key_of(select.namespace)
    if not select.below:
        parts.append("i.namespace = ?")
        told.append(key)
    elif select.namespace:
        begin = key[:-1] + ","
        parts.append("(i.namespace = ? OR (i.namespace >= ? AND i.namespace < ?))")
        told += [key, begin, begin[:-1] + "-"]
    if select.ids:
        parts.append(f"i.id IN ({', '.join('?' * len(select.ids))})")
        told += select.ids
    for name in ("subject", "session"):
        if getattr(select, name) is not None:
            parts.append(f"i.{name} = ?")
            told.append(getattr(select, name))
    if select.older_than_s is not None:
        parts.append("i.created <= ?")
        told.append(now - round(select.older_than_s * 1_000_000))
    if select.filter is not None:
        parts.append(f"fits({COLUMNS})")
    return " AND ".join(parts), told
