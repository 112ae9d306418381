"""The table: how it is read and changed.

One column holds vectors, and its name says whose they are, so that no item ever has a vector of another embedder than
the table says. Each reading looks whether there is a later version, so that what another process has written is seen;
where `forget` takes a version away from under a query, the query is asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa

from opspawn.errors import MemoryFailed, OpspawnError
from opspawn_memory_lancedb.disk import Disk
from opspawn_memory_lancedb.faults import told
from opspawn_memory_lancedb.lance import FTS, LOOP
from opspawn_memory_lancedb.locks import FileLock, LastWriter

T = TypeVar("T")
NAME = "items"
_VECTORS = "v_"
#: An index of vectors is named after how many parts it has.
PARTS = "vectors_"
_TRIES = 5
_TICK_NS = 50_000_000
_FACTS = 256
_WORDS = FTS(
    base_tokenizer="whitespace",
    stem=False,
    remove_stop_words=False,
    ascii_folding=False,
    lower_case=False,
    max_token_length=None,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Whose vectors the table has: the column, the embedder, how long they are."""

    column: str
    model: str
    dim: int


class Table:
    """An open table. Its methods block; any thread may call them."""

    def __init__(self, table: Any, uri: str, locks: Path, busy_timeout_s: float) -> None:
        self.lance = table
        self.busy_timeout_s = busy_timeout_s
        #: The folder, and the table in it; None for an object store.
        self.place = None if "://" in uri else Path(uri)
        self.disk = None if self.place is None else Disk(self.place / f"{NAME}.lance")
        #: Held by whoever makes indexes or forgets, by whoever writes, by whoever settles logs; taken in this order.
        self.tending, self.writing = FileLock(locks / "tending.lock"), FileLock(locks / "writing.lock")
        self.settling, self.last_writer = FileLock(locks / "settling.lock"), LastWriter(locks / "writer")
        self._seen: int | None = None
        self._turn = 0
        self._facts: tuple[int, dict[str, Any]] = (-1, {})

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, work: Callable[[Any], T]) -> T:
        """What `work(table)` reads. Raises: MemoryFailed."""
        self.fresh()
        for left in reversed(range(_TRIES)):
            try:
                return self.do(work)
            except MemoryFailed as error:
                if not left or "not found" not in str(error).lower():
                    raise
                self.do(lambda table: table.checkout_latest())
                self._turn += 1
        raise AssertionError

    def fresh(self) -> None:
        """Have the latest version be read: looked for only if something has changed in the folder of versions.

        Two changes may have one time, so a time counts as known when it has passed for a while.
        """
        stamp = None if self.disk is None else self.disk.stamp()
        if stamp is not None and stamp == self._seen:
            return
        now = time.time_ns()
        self.do(lambda table: table.checkout_latest())
        self._turn += 1
        self._seen = stamp if stamp is not None and abs(now - stamp) > _TICK_NS else None

    def change(self, work: Callable[[Any], Any]) -> None:
        """Have `work(table)` change it; it is on the disk then. Raises: MemoryFailed."""
        self.fresh()
        try:
            self.do(work)
        finally:
            self._turn += 1
        self.sync()

    def do(self, work: Callable[[Any], T]) -> T:
        """What `work(table)` gives, with errors in our words. Raises: MemoryFailed."""
        try:
            return work(self.lance)
        except OpspawnError:
            raise
        except Exception as error:
            raise MemoryFailed(f"The memory cannot do its work: {told(error)}.") from error

    def rows(self, sql: str, columns: list[str], **more: Any) -> pa.Table:
        """The columns of rows that fit; `limit` and `with_row_id` are taken."""

        def work(table: Any) -> pa.Table:
            query = table.search().where(sql).select(columns)
            if more.get("newest"):
                query = query.order_by([_NEWEST])
            if (limit := more.get("limit")) is not None:
                query = query.limit(limit)
            if more.get("with_row_id"):
                query = query.with_row_id(True)
            return query.to_arrow()

        return self.ask(work)

    def count(self, sql: str) -> int:
        """How many rows fit."""
        return self._known(f"count {sql}", lambda: int(self.ask(lambda table: table.count_rows(sql))))

    @property
    def schema(self) -> pa.Schema:
        """The columns as they are now."""
        return self._known("schema", lambda: self.ask(lambda table: table.schema))

    def kept(self) -> Kept | None:
        """Whose vectors there are."""
        return kept_in(self.schema)

    @property
    def rows_in_all(self) -> int:
        """How many rows there are, the expired among them."""
        return self.count("true")

    @property
    def expiring(self) -> bool:
        """Whether a row will ever expire."""
        return self.count("expires is not null") > 0

    def indexes(self) -> dict[str, str]:
        """The names of indexes, by their column."""
        return self._known("indexes", self._indexes)

    def _indexes(self) -> dict[str, str]:
        found = self.ask(lambda table: list(table.list_indices()))
        return {index.columns[0]: index.name for index in found}

    def _known(self, what: str, find: Callable[[], T]) -> T:
        """What is found in a version, looked for once."""
        self.fresh()
        turn = self._turn
        at, known = self._facts
        if at != turn or len(known) > _FACTS:
            known = {}
            self._facts = (turn, known)
        if what not in known:
            known[what] = find()
        return cast(T, known[what])

    # -- changing ------------------------------------------------------------------------------------------------------

    def take_vectors(self, model: str, dim: int) -> None:
        """Make the column of vectors. The caller holds `writing`."""
        field = column_for(model, dim)
        self.change(lambda table: table.add_columns(pa.schema([field])))

    def drop_vectors(self, kept: Kept) -> None:
        """Take all vectors away. The caller holds both locks."""
        self.drop_index(kept.column)
        self.change(lambda table: table.drop_columns([kept.column]))

    def index_words(self) -> None:
        """An index of words that knows of nothing yet; what it does not know is looked at row by row."""
        self.create_index("terms", _WORDS, train=False)

    def create_index(self, column: str, config: Any, *, train: bool = True, name: str | None = None) -> None:
        """Make an index, in place of the one there is."""

        loop: Any = LOOP

        def work(table: Any) -> None:
            called = name or f"{column}_idx"
            # The synchronous table knows each kind of index by other words, and not all of them.
            loop.run(table._table.create_index(column, config=config, replace=True, train=train, name=called))

        self.change(work)

    def drop_index(self, column: str) -> None:
        """Take an index away, if there is one."""
        name = self.indexes().get(column)
        if name is not None:
            self.change(lambda table: table.drop_index(name))

    def tidy(self, older_than_s: float) -> None:
        """Merge small files, bring indexes up to date, remove versions older than that. The caller holds `tending`."""
        span = timedelta(seconds=older_than_s)
        self.change(lambda table: table.optimize(cleanup_older_than=span))

    def tidy_all(self) -> None:
        """The same, and leave no other version, nor any file that the latest does not need. The caller holds both."""
        span = timedelta(milliseconds=1)  # of 0 lancedb warns
        time.sleep(0.002)
        self.change(lambda table: table.optimize(cleanup_older_than=span, delete_unverified=True))

    def sync(self) -> None:
        """Have what was written be on the disk, if the table is in a folder."""
        if self.disk is not None:
            self.disk.sync()


_NEWEST: Mapping[str, Any] = {"column_name": "seq", "ascending": False}


def column_for(model: str, dim: int) -> pa.Field:
    """The column for vectors of this embedder, so long."""
    return pa.field(_VECTORS + model.encode().hex(), pa.list_(pa.float32(), dim))


def kept_in(schema: pa.Schema) -> Kept | None:
    """Whose vectors a table with these columns has."""
    for field in schema:
        if field.name.startswith(_VECTORS):
            return Kept(field.name, bytes.fromhex(field.name[len(_VECTORS) :]).decode(), field.type.list_size)
    return None


def parts_of(index: str | None) -> int:
    """How many parts an index of vectors has, by its name; 0 if there is none."""
    return int(index.removeprefix(PARTS)) if index is not None else 0
