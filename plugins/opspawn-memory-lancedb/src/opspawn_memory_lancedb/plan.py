"""What a group of adds changes: worked out against what is there, then written whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from opspawn.contracts.memory import Duplicates, MemoryItem
from opspawn.memories.items import kept_as, moment, said, stamp
from opspawn_memory_lancedb.columns import Entry, table_of
from opspawn_memory_lancedb.known import Known
from opspawn_memory_lancedb.rows import SCHEMA, item_of, key_number, same_number
from opspawn_memory_lancedb.table import Kept, Table

_LOOKED_UP = 1000


@dataclass(slots=True)
class Add:
    """Items to keep, with their vectors, and whose these are."""

    items: Sequence[MemoryItem]
    vectors: Sequence[Any] | None
    model: str | None
    duplicates: Duplicates
    now: int


@dataclass(slots=True)
class _Asked:
    """An add, with the numbers by which its items are looked up; 0 stands for an id that is yet to be made."""

    add: Add
    keys: list[int]
    sames: list[int]

    @classmethod
    def of(cls, add: Add) -> _Asked:
        keys = [key_number(item.namespace, item.id) if item.id else 0 for item in add.items]
        return cls(add, keys, [same_number(item) for item in add.items])


class Plan:
    """What is there already is looked up at most once, and most items are known to be new without that."""

    def __init__(self, table: Table, kept: Kept | None, next_seq: Callable[[], int], adds: Sequence[Add]) -> None:
        self._table = table
        self._kept = kept
        self._next_seq = next_seq
        self._asked = [_Asked.of(add) for add in adds]
        #: Numbers that more than one item may have, with those items.
        self._keys: dict[int, list[Entry]] = {}
        self._sames: dict[int, list[Entry]] = {}
        self.new: list[Entry] = []
        self.changed: list[Entry] = []
        self.gone: list[int] = []

    def suspects(self, known: Known | None) -> tuple[set[int], set[int]]:
        """The numbers of ids, and of what is said, that may be in the table; all without `known`."""
        keys = [key for asked in self._asked for key in asked.keys if key]
        sames = [same for asked in self._asked if asked.add.duplicates == "merge" for same in asked.sames]
        found = (set(keys), set(sames))
        for numbers, several, noted in ((keys, found[0], self._keys), (sames, found[1], self._sames)):
            if len(numbers) != len(several):
                noted |= {number: [] for number, times in Counter(numbers).items() if times > 1}
        if known is not None:
            found = (known.keys.among(found[0]), known.sames.among(found[1]))
        self._keys |= {key: [] for key in found[0]}
        self._sames |= {same: [] for same in found[1]}
        return found

    def look_up(self, keys: set[int], sames: set[int]) -> None:
        """Find what the table has of these."""
        columns = [*SCHEMA.names, *([] if self._kept is None else [self._kept.column])]
        seen: set[int] = set()
        for column, numbers in (("key", keys), ("same", sames)):
            listed = sorted(numbers)
            for start in range(0, len(listed), _LOOKED_UP):
                some = ", ".join(map(str, listed[start : start + _LOOKED_UP]))
                for row in self._table.rows(f"{column} in ({some})", columns).to_pylist():
                    if row["seq"] not in seen:
                        seen.add(row["seq"])
                        self._note(entry_in(row, self._kept))

    def work_out(self) -> list[tuple[list[Entry], set[int]]]:
        """Of each add the items as they will be kept, and the places of those that were there already."""
        return [self._of(asked) for asked in self._asked]

    def _of(self, asked: _Asked) -> tuple[list[Entry], set[int]]:
        add = asked.add
        now = moment(add.now)
        merge = add.duplicates == "merge"
        vectors = add.vectors if add.vectors is not None else [None] * len(add.items)
        names = os.urandom(12 * len(add.items)).hex()
        told, old = [], set()
        for n, (item, key, same, vector) in enumerate(zip(add.items, asked.keys, asked.sames, vectors, strict=True)):
            known = self._with_id(item, key, add.now) if key in self._keys else None
            if known is None and merge and same in self._sames:
                known = self._with_words(item, same, add.now)
                if known is not None:
                    self._merge(known, item, add.now)
            if known is None:
                id = item.id or f"m-{names[24 * n : 24 * (n + 1)]}"
                told.append(self._new(item, id, key, same, vector, add.now, now))
            else:
                old.add(n)
                told.append(known)
        return told, old

    def _new(self, item: MemoryItem, id: str, key: int, same: int, vector: Any, now: int, at: datetime) -> Entry:
        expires = _expiry(item, now)
        created = updated = now
        made = changed = at
        if item.created is not None or item.updated is not None:
            created, updated = min(now, stamp(item.created) or now), min(now, stamp(item.updated) or now)
            made, changed = moment(created), moment(updated)
        kept = kept_as(item, id, made, changed, None if expires is None else moment(expires))
        key = key or key_number(item.namespace, id)
        entry = Entry(kept, self._next_seq(), key, same, vector, created, updated, expires, True)
        self.new.append(entry)
        if key in self._keys or same in self._sames:
            self._note(entry)
        return entry

    def _with_id(self, item: MemoryItem, key: int, now: int) -> Entry | None:
        for entry in self._keys[key]:
            if entry.item.id == item.id and entry.item.namespace == item.namespace:
                if _alive(entry, now):
                    return entry
                self._forget(entry)
                return None
        return None

    def _with_words(self, item: MemoryItem, same: int, now: int) -> Entry | None:
        for entry in self._sames[same]:
            there = entry.item
            if _alive(entry, now) and there.namespace == item.namespace and said(there) == said(item):
                return entry
        return None

    def _merge(self, entry: Entry, item: MemoryItem, now: int) -> None:
        entry.expires, entry.updated = _expiry(item, now), now
        entry.item = replace(
            entry.item,
            confidence=max(entry.item.confidence, item.confidence),
            ttl_s=item.ttl_s,
            expires=None if entry.expires is None else moment(entry.expires),
            updated=moment(now),
        )
        if not (entry.new or entry.changed):
            entry.changed = True
            self.changed.append(entry)

    def _note(self, entry: Entry) -> None:
        self._keys.setdefault(entry.key, []).append(entry)
        self._sames.setdefault(entry.same, []).append(entry)

    def _forget(self, entry: Entry) -> None:
        """What has expired makes room."""
        self._keys[entry.key].remove(entry)
        self._sames[entry.same].remove(entry)
        if entry.new:
            self.new.remove(entry)
            return
        if entry.changed:
            self.changed.remove(entry)
        self.gone.append(entry.seq)


def entry_in(row: dict[str, Any], kept: Kept | None) -> Entry:
    """The entry of a row of the table."""
    vector = None if kept is None else row[kept.column]
    times = (row["created"], row["updated"], row["expires"])
    return Entry(item_of(row), row["seq"], row["key"], row["same"], vector, *times)


def replace_rows(table: Table, entries: Sequence[Entry], kept: Kept | None) -> None:
    """Write rows in place of those with the same number, and those that are new, in one version."""
    made = table_of(entries, table.schema, None if kept is None else kept.column)
    table.change(
        lambda lance: lance.merge_insert("seq").when_matched_update_all().when_not_matched_insert_all().execute(made)
    )


def _expiry(item: MemoryItem, now: int) -> int | None:
    return stamp(item.expires) or (None if item.ttl_s is None else now + round(item.ttl_s * 1_000_000))


def _alive(entry: Entry, now: int) -> bool:
    return entry.expires is None or entry.expires > now
