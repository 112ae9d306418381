"""Writing items. One thread writes; all adds that wait go into one version of the table, and each returns when that is
on the disk. Writers of several processes take turns by a lock of the operating system.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import pyarrow as pa

from opspawn.contracts.memory import Added, Duplicates, MemoryItem
from opspawn.errors import EmbedderMismatch
from opspawn.memories.items import kept_as, moment, same, stamp
from opspawn_memory_lancedb.rows import Row, item_of, key_number, row_of, same_number, table_of
from opspawn_memory_lancedb.table import Kept, Table

#: How many items one version takes at most.
MOST = 20_000
_LOOKED_UP = 1000


@dataclass(slots=True)
class Add:
    """Items to keep, with their vectors, and who waits for them."""

    items: Sequence[MemoryItem]
    vectors: Sequence[Any] | None
    model: str | None
    dim: int
    duplicates: Duplicates
    now: int
    done: Future[list[Added]]


@dataclass(slots=True)
class Call:
    """Something else to do, alone."""

    work: Callable[[], Any]
    done: Future[Any]


@dataclass(slots=True, eq=False)
class Entry:
    """A row that is there, or will be, with its vector, and whether it changes."""

    row: Row
    vector: Any
    item: MemoryItem
    new: bool = False
    changed: bool = False


class Writer:
    """The one thread that writes."""

    def __init__(self, table: Table, written: Callable[[], None]) -> None:
        """`written` is called after each write."""
        self._table = table
        self._written = written
        self._waiting: deque[Add | Call] = deque()
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "opspawn-memory-writer")
        self._last = 0

    def put(self, one: Add | Call) -> None:
        """Have it done; its future tells."""
        with self._guard:
            self._waiting.append(one)
            self._thread.submit(self._go)

    def close(self) -> None:
        """Do what waits, and end."""
        self._thread.shutdown()

    def next_seq(self) -> int:
        """A number above all earlier ones, of any process, while their clocks go on. The caller holds `writing`."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def _go(self) -> None:
        if not (some := self._taken()):
            return
        try:
            if isinstance(some[0], Call):
                some[0].done.set_result(some[0].work())
            else:
                with self._table.writing.held(self._table.busy_timeout_s):
                    results = self._add([one for one in some if isinstance(one, Add)])
                for one, result in zip(some, results, strict=True):
                    _tell(one.done, result)
            self._written()
        except BaseException as error:
            for one in some:
                if not one.done.done():
                    one.done.set_exception(error)

    def _taken(self) -> list[Add | Call]:
        """What waits next: all adds up to something else."""
        some: list[Add | Call] = []
        count = 0
        with self._guard:
            while self._waiting and count < MOST:
                if isinstance(self._waiting[0], Call) and some:
                    break
                one = self._waiting.popleft()
                some.append(one)
                if isinstance(one, Call):
                    break
                count += len(one.items)
        return some

    # -- adding --------------------------------------------------------------------------------------------------------

    def _add(self, adds: list[Add]) -> list[list[Added] | Exception]:
        kept = self._table.kept()
        fitting, results = [], dict[int, Any]()
        for n, add in enumerate(adds):
            try:
                kept = self._kept(kept, add)
                fitting.append(n)
            except EmbedderMismatch as error:
                results[n] = error
        plan = Plan(self._table, kept, self.next_seq)
        plan.look_up([adds[n] for n in fitting])
        entries = {n: plan.add(adds[n]) for n in fitting}
        plan.commit()
        self._table.sync()
        for n, found in entries.items():
            results[n] = [Added(entry.item, new) for entry, new in found]
        return [results[n] for n in range(len(adds))]

    def _kept(self, kept: Kept | None, add: Add) -> Kept | None:
        """Whose vectors the table has, once this is in it. Raises: EmbedderMismatch."""
        if add.vectors is None:
            return kept
        if kept is None:
            self._table.take_vectors(str(add.model), add.dim)
            return self._table.kept()
        check(kept, str(add.model), add.dim)
        return kept


def check(kept: Kept | None, model: str, dim: int) -> None:
    """Raises: EmbedderMismatch: the vectors are another's."""
    if kept is not None and (kept.model, kept.dim) != (model, dim):
        raise EmbedderMismatch(f"{kept.model!r} with {kept.dim} numbers", f"{model!r} with {dim}")


class Plan:
    """What one version changes: worked out against what is there, then committed whole."""

    def __init__(self, table: Table, kept: Kept | None, next_seq: Callable[[], int]) -> None:
        self._table = table
        self._kept = kept
        self._next_seq = next_seq
        self._keys: dict[int, list[Entry]] = {}
        self._sames: dict[int, list[Entry]] = {}
        self._entries: list[Entry] = []
        self._gone: list[int] = []

    def look_up(self, adds: Sequence[Add]) -> None:
        """Find what is there already of these."""
        keys = {key_number(item.namespace, item.id) for add in adds for item in add.items if item.id}
        sames = {same_number(item) for add in adds if add.duplicates == "merge" for item in add.items}
        schema = self._table.schema
        seen: set[int] = set()
        for column, numbers in (("key", keys), ("same", sames)):
            listed = sorted(numbers)
            for start in range(0, len(listed), _LOOKED_UP):
                some = ", ".join(map(str, listed[start : start + _LOOKED_UP]))
                for row in self._table.rows(f"{column} in ({some})", schema.names).to_pylist():
                    if row["seq"] not in seen:
                        seen.add(row["seq"])
                        vector = None if self._kept is None else row.pop(self._kept.column, None)
                        self._note(Entry(row, vector, item_of(row)))

    def add(self, add: Add) -> list[tuple[Entry, bool]]:
        """Each item as it will be kept, and whether it is new."""
        vectors = add.vectors if add.vectors is not None else [None] * len(add.items)
        return [self._one(item, vector, add) for item, vector in zip(add.items, vectors, strict=True)]

    def commit(self) -> None:
        """Write it. Raises: MemoryFailed."""
        if self._gone:
            listed = ", ".join(map(str, self._gone))
            self._table.do(lambda table: table.delete(f"seq in ({listed})"))
        changed = [entry for entry in self._entries if entry.changed and not entry.new]
        new = [entry for entry in self._entries if entry.new]
        if changed:
            replace_rows(self._table, [*changed, *new], self._kept)
        elif new:
            made = rows_of(self._table, new, self._kept)
            self._table.do(lambda table: table.add(made))

    def _one(self, item: MemoryItem, vector: Any, add: Add) -> tuple[Entry, bool]:
        if item.id and (known := self._with_id(item, add.now)) is not None:
            return known, False
        expires = stamp(item.expires) or (None if item.ttl_s is None else add.now + round(item.ttl_s * 1_000_000))
        if add.duplicates == "merge" and (known := self._with_words(item, add.now)) is not None:
            known.item = merged(known.item, item, expires, add.now)
            known.row = row_of(known.item, known.row["seq"])
            known.changed = True
            return known, False
        created, updated = min(add.now, stamp(item.created) or add.now), min(add.now, stamp(item.updated) or add.now)
        times = (moment(created), moment(updated), None if expires is None else moment(expires))
        item = kept_as(item, item.id or f"m-{uuid4().hex[:24]}", *times)
        entry = Entry(row_of(item, self._next_seq()), vector, item, new=True, changed=True)
        self._note(entry)
        return entry, True

    def _with_id(self, item: MemoryItem, now: int) -> Entry | None:
        if not self._keys:
            return None
        for entry in self._keys.get(key_number(item.namespace, item.id), []):
            if entry.item.id == item.id and entry.item.namespace == item.namespace:
                if _alive(entry.row, now):
                    return entry
                self._forget(entry)
                return None
        return None

    def _with_words(self, item: MemoryItem, now: int) -> Entry | None:
        if not self._sames:
            return None
        for entry in self._sames.get(same_number(item), []):
            there = entry.item
            if _alive(entry.row, now) and there.namespace == item.namespace and same(there) == same(item):
                return entry
        return None

    def _note(self, entry: Entry) -> None:
        self._keys.setdefault(entry.row["key"], []).append(entry)
        self._sames.setdefault(entry.row["same"], []).append(entry)
        self._entries.append(entry)

    def _forget(self, entry: Entry) -> None:
        """What has expired makes room."""
        self._keys[entry.row["key"]].remove(entry)
        self._sames[entry.row["same"]].remove(entry)
        self._entries.remove(entry)
        if not entry.new:
            self._gone.append(entry.row["seq"])


def merged(there: MemoryItem, item: MemoryItem, expires: int | None, now: int) -> MemoryItem:
    """What is there, told once more."""
    return replace(
        there,
        confidence=max(there.confidence, item.confidence),
        ttl_s=item.ttl_s,
        expires=None if expires is None else moment(expires),
        updated=moment(now),
    )


def replace_rows(table: Table, entries: Sequence[Entry], kept: Kept | None) -> None:
    """Write rows in place of those with the same number, and those that are new, in one version."""
    made = rows_of(table, entries, kept)
    table.do(
        lambda lance: lance.merge_insert("seq").when_matched_update_all().when_not_matched_insert_all().execute(made)
    )


def rows_of(table: Table, entries: Sequence[Entry], kept: Kept | None) -> pa.Table:
    """Entries as rows of the table."""
    column = None if kept is None else kept.column
    return table_of([one.row for one in entries], table.schema, [one.vector for one in entries], column)


def _alive(row: Row, now: int) -> bool:
    return row["expires"] is None or row["expires"] > now


def _tell(done: Future[Any], result: Any) -> None:
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
