"""What every memory does to items alike: which are the same, how they change, how times and namespaces are written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from hashlib import blake2b

from opspawn.contracts.memory import KEEP, Change, MemoryItem, Namespace

_FIELDS = tuple(field.name for field in fields(MemoryItem))


def key_of(namespace: Namespace) -> str:
    """A namespace as text; those that begin with it begin with `key[:-1] + ","`."""
    return json.dumps(list(namespace), separators=(",", ":"))


def same(item: MemoryItem) -> bytes:
    """What two items have in common that say the same about the same subject."""
    words = " ".join(item.text.casefold().split())
    return blake2b(f"{item.subject}\0{words}".encode(), digest_size=16).digest()


def moment(stamp: int) -> datetime:
    """A time of the database."""
    return datetime.fromtimestamp(stamp / 1_000_000, UTC)


def stamp(time: datetime | None) -> int | None:
    """A time for the database."""
    return None if time is None else round(time.timestamp() * 1_000_000)


def kept_as(item: MemoryItem, id: str, created: datetime, updated: datetime, expires: datetime | None) -> MemoryItem:
    """The item with what the memory adds. It was looked at when it was made, and is not again."""
    kept = object.__new__(MemoryItem)
    for name in _FIELDS:
        object.__setattr__(kept, name, getattr(item, name))
    for name, value in (("id", id), ("created", created), ("updated", updated), ("expires", expires)):
        object.__setattr__(kept, name, value)
    return kept


def changed(item: MemoryItem, change: Change) -> MemoryItem:
    """The item with what a change says. Raises: InvalidInput."""
    names = ("text", "metadata", "subject", "confidence", "ttl_s", "refresh")
    return replace(item, **{name: value for name in names if (value := getattr(change, name)) is not KEEP})
