"""What is found of an item, in one column: LanceDB takes half a millisecond for each column of a few rows that lie far
apart, and a memory wants each item whole.

The column follows from others, so rows get it on their way into the table, from kernels of Arrow. It is lines, the last
of which is the subject and the text, of any characters; those before have no line ends (ids have none, and JSON escapes
them). When an item expires is a column, since that may change with no look at the item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc  # type: ignore[import-untyped]

from opspawn.contracts.memory import NOWHERE, MemoryItem, Namespace, Provenance
from opspawn.memories.items import moment, unchecked

COLUMN = "item"
#: What `unpacked` reads.
ITEM = (COLUMN, "expires")
#: Columns of rows that are in the packed one only.
PACKED = ("text", "subject", "metadata", "provenance", "refresh", "updated")
_LINES = ("seq", "created", "updated", "confidence", "ttl_s", "refresh", "id", "namespace", "metadata", "provenance")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An item, its place, and its times in microseconds."""

    seq: int
    item: MemoryItem
    created: int
    updated: int
    expires: int | None


def with_item(rows: pa.Table) -> pa.Table:
    """Rows with each item whole in one column, and without those columns that are needed for nothing else."""
    if COLUMN in rows.column_names:
        return rows
    lines = [pc.fill_null(pc.cast(rows[name], pa.string()), "") for name in _LINES]
    length = pc.cast(pc.utf8_length(rows["subject"]), pa.string())
    last = pc.binary_join_element_wise(rows["subject"], rows["text"], "")
    whole = pc.binary_join_element_wise(*lines, length, last, "\n")
    return rows.drop_columns(list(PACKED)).append_column(pa.field(COLUMN, pa.string(), nullable=False), whole)


def place_of(row: Mapping[str, Any]) -> int:
    """The place of an item, in a row of `ITEM`."""
    return int(row[COLUMN].partition("\n")[0])


def item_of(row: Mapping[str, Any]) -> MemoryItem:
    """The item of a row of `ITEM`."""
    return unpacked(row).item


def unpacked(row: Mapping[str, Any]) -> Unpacked:
    """A row of `ITEM`."""
    lines = row[COLUMN].split("\n", len(_LINES) + 1)
    seq, created, updated, confidence, ttl_s, refresh, id, namespace, metadata, provenance, length, last = lines
    subject = int(length)
    expires = row["expires"]
    item = unchecked(
        last[subject:],
        _namespace(namespace),
        id,
        {} if metadata == "{}" else json.loads(metadata),
        last[:subject],
        NOWHERE if provenance == "{}" else Provenance(**json.loads(provenance)),
        float(confidence),
        float(ttl_s) if ttl_s else None,
        refresh == "true",
        moment(int(created)),
        moment(int(updated)),
        None if expires is None else moment(expires),
    )
    return Unpacked(int(seq), item, int(created), int(updated), expires)


@lru_cache(1024)
def _namespace(key: str) -> Namespace:
    return tuple(json.loads(key))
