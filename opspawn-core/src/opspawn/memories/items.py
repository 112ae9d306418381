"""What every memory does to items alike: which are the same, how they change, how times and namespaces are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from opspawn.contracts.memory import KEEP, Added, Change, MemoryItem, Namespace, Provenance


class _Open:
    """An item while it is made: a frozen one cannot be filled quickly, and there may be thousands in a call."""

    __slots__ = tuple(field.name for field in fields(MemoryItem))


class _OpenAdded:
    """The same of what is told of an item."""

    __slots__ = tuple(field.name for field in fields(Added))


def key_of(namespace: Namespace) -> str:
    """A namespace as text; those that begin with it begin with `key[:-1] + ","`."""
    return json.dumps(list(namespace), separators=(",", ":"))


def said(item: MemoryItem) -> str:
    """What two items have in common that say the same about the same subject."""
    text = item.text.casefold()
    # What can be printed has no white space but spaces: most texts need not be split.
    if "  " in text or not text.isprintable() or text != text.strip():
        text = " ".join(text.split())
    return f"{item.subject}\0{text}"


def same(item: MemoryItem) -> bytes:
    """The same as a digest."""
    return blake2b(said(item).encode(), digest_size=16).digest()


def moment(stamp: int) -> datetime:
    """A time of the database."""
    return datetime.fromtimestamp(stamp / 1_000_000, UTC)


def stamp(time: datetime | None) -> int | None:
    """A time for the database."""
    return None if time is None else round(time.timestamp() * 1_000_000)


def unchecked(
    text: str,
    namespace: Namespace,
    id: str,
    metadata: Mapping[str, Any],
    subject: str,
    provenance: Provenance,
    confidence: float,
    ttl_s: float | None,
    refresh: bool,
    created: datetime | None,
    updated: datetime | None,
    expires: datetime | None,
) -> MemoryItem:
    """An item of what was looked at before it was kept; to look again takes longer than all the rest."""
    made: Any = _Open()
    made.text, made.namespace, made.id, made.metadata, made.subject = text, namespace, id, metadata, subject
    made.provenance, made.confidence, made.ttl_s, made.refresh = provenance, confidence, ttl_s, refresh
    made.created, made.updated, made.expires = created, updated, expires
    made.__class__ = MemoryItem  # it has the same slots
    item: MemoryItem = made
    return item


def kept_as(item: MemoryItem, id: str, created: datetime, updated: datetime, expires: datetime | None) -> MemoryItem:
    """The item with what the memory adds."""
    one = item
    told = (one.metadata, one.subject, one.provenance, one.confidence, one.ttl_s, one.refresh)
    return unchecked(one.text, one.namespace, id, *told, created, updated, expires)


def all_kept(
    items: Sequence[MemoryItem], ids: Sequence[str], now: datetime, expires: Iterable[datetime | None]
) -> list[MemoryItem]:
    """New items with what the memory adds, all kept now."""
    made: list[Any] = []
    for one, id, end in zip(items, ids, expires, strict=False):
        new: Any = _Open()
        new.text, new.namespace, new.id, new.metadata, new.subject = (
            one.text,
            one.namespace,
            id,
            one.metadata,
            one.subject,
        )
        new.provenance, new.confidence, new.ttl_s, new.refresh = one.provenance, one.confidence, one.ttl_s, one.refresh
        new.created = new.updated = now
        new.expires = end
        new.__class__ = MemoryItem
        made.append(new)
    return made


def all_new(items: Sequence[MemoryItem]) -> list[Added]:
    """What is told of new items."""
    made: list[Any] = []
    for item in items:
        new: Any = _OpenAdded()
        new.item, new.new = item, True
        new.__class__ = Added
        made.append(new)
    return made


def changed(item: MemoryItem, change: Change) -> MemoryItem:
    """The item with what a change says. Raises: InvalidInput."""
    names = ("text", "metadata", "subject", "confidence", "ttl_s", "refresh")
    return replace(item, **{name: value for name in names if (value := getattr(change, name)) is not KEEP})
