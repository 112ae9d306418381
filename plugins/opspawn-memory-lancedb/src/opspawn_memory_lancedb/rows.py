"""Items as rows of the table and back.

What a query may name is a number or a digest in hexadecimal: namespaces, ids, and the values of fields, each with its
type. So no text of anybody is ever part of a query, whatever it looks like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import unpack
from typing import Any

import pyarrow as pa

from opspawn.contracts.memory import NOWHERE, MemoryItem, Namespace
from opspawn.memories.items import key_of, said
from opspawn_memory_lancedb.packing import PACKED

LAYOUT = "3"
#: How much of a long word is found, in characters.
LONGEST = 64

#: What rows are kept as: `terms` and `item` follow from the others, and rows get them on their way into the table.
KEPT = (
    pa.field("seq", pa.int64(), nullable=False),  # the order of keeping
    pa.field("key", pa.int64(), nullable=False),  # of namespace and id
    pa.field("same", pa.int64(), nullable=False),  # of namespace, subject and words
    pa.field("space", pa.string(), nullable=False),  # the namespace, as a digest
    pa.field("spaces", pa.list_(pa.string()), nullable=False),  # those that it begins with, itself included
    pa.field("fields", pa.list_(pa.string()), nullable=False),  # the fields of filters, as digests
    pa.field("namespace", pa.string(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
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
#: The table, but for its vectors.
SCHEMA = pa.schema(
    [
        *(field for field in KEPT if field.name not in PACKED),
        pa.field("terms", pa.string(), nullable=False),  # the words, and their begins, for the index of words
        pa.field("item", pa.string(), nullable=False),  # the whole of it, for those who find it
    ],
    metadata={"opspawn.layout": LAYOUT},
)
#: Fields that filters compare as texts, and that are kept as numbers.
TIMES = ("@created", "@updated")
_TOLD = ("@session", "@source", "@who", "@agent", "@run")
_NONE: list[str] = []


# -- digests -----------------------------------------------------------------------------------------------------------


def digest(text: str) -> str:
    """A text as 32 hexadecimal digits."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def key_number(namespace: Namespace, id: str) -> int:
    """What an item is looked up by. Two may share it, so what is found is compared."""
    begun = _begun(namespace)
    begun.update(id.encode())
    return int(unpack(">q", begun.digest())[0])


def key_numbers(items: Sequence[MemoryItem], ids: Sequence[str]) -> list[int]:
    """The same of items that will have these ids."""
    return _numbers(items, ids)


def same_numbers(items: Sequence[MemoryItem]) -> list[int]:
    """What those have in common that say the same in one namespace. Others may have it, too, by chance."""
    return _numbers(items, map(said, items))


def fields_of(item: MemoryItem) -> list[str]:
    """What filters and selections look for; ids, times and confidence have columns of their own."""
    told = item.provenance
    if told is NOWHERE and not item.subject and not item.metadata:
        return _NONE
    found: list[str] = []
    if item.subject:
        found += _known("@subject", item.subject)
    for name, value in zip(_TOLD, (told.session, told.source, told.who, told.agent, told.run), strict=True):
        if value:
            found += _known(name, value)
    for name, value in item.metadata.items():
        found += told_of(name, value)
    return found


@lru_cache(4096)
def _known(name: str, value: str) -> list[str]:
    return told_of(name, value)


@lru_cache(1024)
def namespace_key(namespace: Namespace) -> str:
    """A namespace as text."""
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


def _numbers(items: Sequence[MemoryItem], texts: Iterable[str]) -> list[int]:
    """Of each item a number for its namespace and a text. What comes first is taken in once for many of them."""
    digests: list[bytes] = []
    of: Namespace | None = None
    for item, text in zip(items, texts, strict=True):
        if item.namespace is not of:
            of = item.namespace
            begin = _begun(of).copy
        one = begin()
        one.update(text.encode())
        digests.append(one.digest())
    return list(unpack(f">{len(digests)}q", b"".join(digests)))


def _begun(namespace: Namespace) -> blake2b:
    """A digest that has taken in a namespace."""
    return blake2b(f"{namespace_key(namespace)}\0".encode(), digest_size=8)
