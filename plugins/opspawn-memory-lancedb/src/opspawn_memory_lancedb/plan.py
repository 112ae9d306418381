"""What a group of adds changes: worked out against what is there, then written whole.

Nearly all items are new, and nothing in the table or beside them can be the same: these are kept as columns, many at
once. The others are worked out one by one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from opspawn.contracts.memory import Added, Duplicates, MemoryItem
from opspawn.memories.items import all_kept, all_new, kept_as, moment, said, stamp
from opspawn_memory_lancedb.columns import Entry, Rows, table_of, vectors_of
from opspawn_memory_lancedb.known import Known
from opspawn_memory_lancedb.packing import ITEM, place_of, unpacked
from opspawn_memory_lancedb.rows import key_numbers, same_numbers
from opspawn_memory_lancedb.settling import whole_rows
from opspawn_memory_lancedb.table import Kept, Table
from opspawn_memory_lancedb.vectors import Vectors

_LOOKED_UP = 1000
_ID_BYTES = 12


@dataclass(slots=True)
class Add:
    """Items to keep, with their vectors, and whose these are."""

    items: Sequence[MemoryItem]
    vectors: Vectors | None
    model: str | None
    duplicates: Duplicates
    now: int


@dataclass(slots=True)
class _Asked:
    """An add, with the ids its items will have if they are new, and the numbers by which they are looked up.

    `given` are those of ids that are not made here; `first` is the place of the first item.
    """

    add: Add
    ids: list[str]
    keys: list[int]
    sames: list[int]
    given: list[int]
    first: int

    @classmethod
    def of(cls, add: Add, first: int) -> _Asked:
        items = add.items
        ids = [item.id for item in items]
        lacking = ids.count("")
        if lacking:
            names, size = os.urandom(_ID_BYTES * lacking).hex(), 2 * _ID_BYTES
            made = iter([f"m-{names[size * n : size * (n + 1)]}" for n in range(lacking)])
            ids = [id or next(made) for id in ids]
        keys = key_numbers(items, ids)
        given = keys if not lacking else [key for key, item in zip(keys, items, strict=True) if item.id]
        return cls(add, ids, keys, same_numbers(items), given, first)


class Plan:
    """What is there already is looked up at most once, and most items are known to be new without that."""

    def __init__(self, table: Table, kept: Kept | None, places: Callable[[int], int], adds: Sequence[Add]) -> None:
        """`places` gives the first of so many places."""
        self._table = table
        self._kept = kept
        self._asked = [_Asked.of(add, places(len(add.items))) for add in adds]
        #: Numbers that more than one item may have, with those items.
        self._keys: dict[int, list[Entry]] = {}
        self._sames: dict[int, list[Entry]] = {}
        self._simple = False  # all items are known to be just new
        self._careful: list[dict[int, tuple[Entry, bool]]] = []
        self._rows: list[Rows] = []
        self._new: list[Entry] = []
        self.changed: list[Entry] = []
        self.gone: list[int] = []

    def suspects(self, known: Known | None) -> tuple[set[int], set[int]]:
        """The numbers of ids, and of what is said, that may be in the table; all without `known`."""
        keys = [key for asked in self._asked for key in asked.given]
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
        columns = entry_columns(self._kept)
        seen: set[int] = set()
        for column, numbers in (("key", keys), ("same", sames)):
            listed = sorted(numbers)
            for start in range(0, len(listed), _LOOKED_UP):
                some = ", ".join(map(str, listed[start : start + _LOOKED_UP]))
                for row in self._table.rows(f"{column} in ({some})", columns).to_pylist():
                    if (seq := place_of(row)) not in seen:
                        seen.add(seq)
                        self._note(entry_in(row, self._kept))

    def vectors(self, schema: pa.Schema) -> pa.Table | None:
        """The column of vectors of `table`, before the rest of it, if that is sure: all items are just new."""
        if self._kept is None or len(self._asked) > 1 or self._asked[0].add.vectors is None:
            return None
        if self._odd(self._asked[0]):
            return None
        self._simple = True
        field = schema.field(self._kept.column)
        return pa.table(
            [vectors_of(self._asked[0].add.vectors, len(self._asked[0].ids), field.type.list_size)], pa.schema([field])
        )

    def work_out(self) -> None:
        """Find out what has to be written."""
        self._careful = [self._of(asked) for asked in self._asked]

    def told(self) -> list[list[Added]]:
        """Of each add the items as they are kept, and whether they are new."""
        told = []
        rows = iter(self._rows)
        for careful, asked in zip(self._careful, self._asked, strict=True):
            plain = _added(next(rows), asked.add.now) if len(careful) < len(asked.ids) else []
            told.append(_merged(plain, careful) if careful else plain)
        return told

    def table(self, schema: pa.Schema) -> pa.Table | None:
        """All that is new, as columns."""
        column = None if self._kept is None else self._kept.column
        rows = [*self._rows, Rows.of(self._new)] if self._new else self._rows
        return pa.concat_tables([table_of(one, schema, column) for one in rows]) if rows else None

    def known(self) -> tuple[Iterable[int], Iterable[int]]:
        """The numbers of ids, and of what is said, of all that is new."""
        rows = [*self._rows, Rows.of(self._new)]
        return chain.from_iterable(one.keys for one in rows), chain.from_iterable(one.sames for one in rows)

    def _of(self, asked: _Asked) -> dict[int, tuple[Entry, bool]]:
        """Those of an add that are not just new, at their places; the others go together."""
        careful = {n: self._one(asked, n) for n in ([] if self._simple else self._odd(asked))}
        if len(careful) < len(asked.ids):
            self._together(asked, [n for n in range(len(asked.ids)) if n not in careful] if careful else None)
        return careful

    def _odd(self, asked: _Asked) -> list[int]:
        """Which items are not just new, or bring their times."""
        keys, sames = self._keys, self._sames
        if not keys and not sames:
            return [n for n, one in enumerate(asked.add.items) if one.created or one.updated or one.expires]
        return [
            n
            for n, (one, key, same) in enumerate(zip(asked.add.items, asked.keys, asked.sames, strict=True))
            if key in keys or same in sames or one.created or one.updated or one.expires
        ]

    def _together(self, asked: _Asked, places: list[int] | None) -> None:
        """New items, those at `places`, or all."""
        now, vectors = asked.add.now, asked.add.vectors
        items, ids, keys, sames = asked.add.items, asked.ids, asked.keys, asked.sames
        seqs: Sequence[int] = range(asked.first, asked.first + len(ids))
        if places is not None:
            items, ids = [items[n] for n in places], [ids[n] for n in places]
            keys, sames, seqs = [keys[n] for n in places], [sames[n] for n in places], [seqs[n] for n in places]
            vectors = None if vectors is None else vectors[places]
        expires = [None if one.ttl_s is None else _expiry(one, now) for one in items]
        self._rows.append(Rows(items, ids, seqs, keys, sames, vectors, [now] * len(ids), [now] * len(ids), expires))

    def _one(self, asked: _Asked, n: int) -> tuple[Entry, bool]:
        """An item that may be there already, and whether it is new."""
        add, item, key, same = asked.add, asked.add.items[n], asked.keys[n], asked.sames[n]
        known = self._with_id(item, key, add.now) if key in self._keys else None
        if known is None and add.duplicates == "merge" and same in self._sames:
            known = self._with_words(item, same, add.now)
            if known is not None:
                self._merge(known, item, add.now)
        if known is not None:
            return known, False
        vector = None if add.vectors is None else add.vectors[n]
        entry = self._made(item, asked.ids[n], key, same, vector, asked.first + n, add.now)
        return entry, True

    def _made(self, item: MemoryItem, id: str, key: int, same: int, vector: Any, seq: int, now: int) -> Entry:
        expires = _expiry(item, now)
        created, updated = min(now, stamp(item.created) or now), min(now, stamp(item.updated) or now)
        ends = None if expires is None else moment(expires)
        kept = kept_as(item, id, moment(created), moment(updated), ends)
        entry = Entry(kept, seq, key, same, vector, created, updated, expires, True)
        self._new.append(entry)
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
            self._new.remove(entry)
            return
        if entry.changed:
            self.changed.remove(entry)
        self.gone.append(entry.seq)


def entry_columns(kept: Kept | None) -> list[str]:
    """What `entry_in` reads."""
    return ["key", "same", *ITEM, *([] if kept is None else [kept.column])]


def entry_in(row: dict[str, Any], kept: Kept | None) -> Entry:
    """The entry of a row of the table."""
    vector = None if kept is None else row[kept.column]
    one = unpacked(row)
    return Entry(one.item, one.seq, row["key"], row["same"], vector, one.created, one.updated, one.expires)


def replace_rows(table: Table, entries: Sequence[Entry], kept: Kept | None, more: pa.Table | None = None) -> None:
    """Write rows in place of those with the same number, and those that are new, in one version."""
    made = table_of(Rows.of(entries), table.schema, None if kept is None else kept.column)
    whole = whole_rows(made if more is None else pa.concat_tables([made, more]))
    table.change(
        lambda lance: lance.merge_insert("seq").when_matched_update_all().when_not_matched_insert_all().execute(whole)
    )


def _added(rows: Rows, now: int) -> list[Added]:
    ends = [None if one is None else moment(one) for one in rows.expires]
    return all_new(all_kept(rows.items, rows.ids, moment(now), ends))


def _merged(plain: Sequence[Added], careful: dict[int, tuple[Entry, bool]]) -> list[Added]:
    """What is told of an add, in its order."""
    left = iter(plain)
    count = len(plain) + len(careful)
    return [Added(careful[n][0].item, careful[n][1]) if n in careful else next(left) for n in range(count)]


def _expiry(item: MemoryItem, now: int) -> int | None:
    return stamp(item.expires) or (None if item.ttl_s is None else now + round(item.ttl_s * 1_000_000))


def _alive(entry: Entry, now: int) -> bool:
    return entry.expires is None or entry.expires > now
