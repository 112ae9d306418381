"""The table: where it is, how it is opened, read, and made sure of.

One column holds vectors, and its name says whose they are, so that no item ever has a vector of another embedder than
the table says. Reading looks for the latest version each time, so that what another process has written is seen; where
`forget` takes a version away from under a query, the query is asked again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import lancedb
import pyarrow as pa
from lancedb.background_loop import LOOP
from lancedb.index import FTS

from opspawn.errors import MemoryFailed, MemoryUnusable, OpspawnError
from opspawn_memory_lancedb.locks import FileLock
from opspawn_memory_lancedb.rows import LAYOUT, SCHEMA, digest

T = TypeVar("T")
NAME = "items"
_VECTORS = "v_"
_TRIES = 5
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

    def __init__(self, table: Any, uri: str, data: str, busy_timeout_s: float) -> None:
        self.lance = table
        self.busy_timeout_s = busy_timeout_s
        self._uri = uri
        self._process = os.getpid()
        self.folder = None if "://" in uri else Path(uri) / f"{NAME}.lance"
        locks = _locks(uri, data)
        #: Held by whoever writes, and by whoever makes indexes or forgets; the latter takes both, this one last.
        self.writing, self.tending = FileLock(locks / "writing.lock"), FileLock(locks / "tending.lock")
        self._sure: set[str] = set()
        self._facts: tuple[int, dict[str, Any]] = (-1, {})
        self._sync_all()

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, work: Callable[[Any], T]) -> T:
        """What `work(table)` reads. Raises: MemoryFailed."""
        for left in reversed(range(_TRIES)):
            try:
                return self.do(work)
            except MemoryFailed as error:
                if not left or "not found" not in str(error).lower():
                    raise
                self.do(lambda table: table.checkout_latest())
        raise AssertionError

    def do(self, work: Callable[[Any], T]) -> T:
        """What `work(table)` gives, with errors in our words. Raises: MemoryFailed."""
        if os.getpid() != self._process:
            raise MemoryFailed(
                "This memory was opened before the process forked, and cannot be used in the child.",
                remedy='Open it in the child, and start children by "spawn" where lancedb was used before.',
            )
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
        return int(self.ask(lambda table: table.count_rows(sql)))

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
        return self._known("rows", lambda: int(self.ask(lambda table: table.count_rows())))

    @property
    def expiring(self) -> bool:
        """Whether a row will ever expire."""
        return self._known("expiring", lambda: self.count("expires is not null") > 0)

    def indexes(self) -> dict[str, str]:
        """The names of indexes, by their column."""
        return self._known("indexes", self._indexes)

    def _indexes(self) -> dict[str, str]:
        found = self.ask(lambda table: list(table.list_indices()))
        return {index.columns[0]: index.name for index in found}

    def _known(self, what: str, find: Callable[[], T]) -> T:
        """What is found in a version, looked for once."""
        version = int(self.ask(lambda table: table.version))
        at, known = self._facts
        if at != version:
            known = {}
            self._facts = (version, known)
        if what not in known:
            known[what] = find()
        return cast(T, known[what])

    # -- changing ------------------------------------------------------------------------------------------------------

    def take_vectors(self, model: str, dim: int) -> None:
        """Make the column of vectors. The caller holds `writing`."""
        field = pa.field(_VECTORS + model.encode().hex(), pa.list_(pa.float32(), dim))
        self.do(lambda table: table.add_columns(pa.schema([field])))
        self.sync()

    def drop_vectors(self, kept: Kept) -> None:
        """Take all vectors away. The caller holds both locks."""
        self.drop_index(kept.column)
        self.do(lambda table: table.drop_columns([kept.column]))

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

        self.do(work)

    def drop_index(self, column: str) -> None:
        """Take an index away, if there is one."""
        name = self.indexes().get(column)
        if name is not None:
            self.do(lambda table: table.drop_index(name))

    def tidy(self, older_than_s: float) -> None:
        """Merge small files, bring indexes up to date, remove versions older than that. The caller holds `tending`."""
        span = timedelta(seconds=older_than_s)
        self.do(lambda table: table.optimize(cleanup_older_than=span))

    def tidy_all(self) -> None:
        """The same, and leave no other version, nor any file that the latest does not need. The caller holds both."""
        span = timedelta(milliseconds=1)  # of 0 lancedb warns
        time.sleep(0.002)
        self.do(lambda table: table.optimize(cleanup_older_than=span, delete_unverified=True))

    # -- the disk ------------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Have what was written be on the disk, if the table is in a folder: lancedb leaves that to the system."""
        if self.folder is not None:
            for folder in ("data", "_deletions", "_versions", ""):
                self._sync(self.folder / folder)

    def _sync(self, folder: Path) -> None:
        new = [path for path in _files(folder) if path not in self._sure]
        for path in new:
            _fsync(path)
        if new or folder == self.folder:
            _fsync(str(folder))
        self._sure.update(new)

    def _sync_all(self) -> None:
        if self.folder is not None:
            for folder in ("data", "_deletions", "_versions"):
                self._sure.update(_files(self.folder / folder))

    def size(self) -> int | None:
        """Bytes on disk; None for an object store."""
        if self.folder is None:
            return None
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def touched(self) -> set[int] | None:
        """Which fragments have rows that were taken out and are still in their files; None where nobody can tell."""
        if self.folder is None:
            return None
        names = [os.path.basename(path) for path in _files(self.folder / "_deletions")]
        return {int(name.split("-")[0]) for name in names if name.split("-")[0].isdigit()}


_NEWEST: Mapping[str, Any] = {"column_name": "seq", "ascending": False}


def open_table(uri: str, data: str, options: Mapping[str, str], busy_timeout_s: float) -> Table:
    """Open the table, or make it. Raises: MemoryUnusable."""
    try:
        locks = _locks(uri, data)
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / "writing.lock").held(busy_timeout_s):
            return _opened(uri, data, options, busy_timeout_s)
    except OpspawnError:
        raise
    except Exception as error:
        raise unusable(uri, told(error)) from error


def _opened(uri: str, data: str, options: Mapping[str, str], busy_timeout_s: float) -> Table:
    connection = lancedb.connect(uri, read_consistency_interval=timedelta(0), storage_options=dict(options) or None)
    if NAME not in connection.list_tables(limit=1000).tables:
        table = Table(connection.create_table(NAME, schema=SCHEMA), uri, data, busy_timeout_s)
        table.index_words()
        table.sync()
        return table
    opened = connection.open_table(NAME)
    layout = (opened.schema.metadata or {}).get(b"opspawn.layout", b"").decode()
    if not layout:
        raise unusable(uri, f"its table {NAME!r} is of something else")
    if layout != LAYOUT:
        raise unusable(uri, f"its layout is {layout}, and this version of Opspawn knows {LAYOUT}")
    table = Table(opened, uri, data, busy_timeout_s)
    if "terms" not in table.indexes():
        table.index_words()
    return table


def kept_in(schema: pa.Schema) -> Kept | None:
    """Whose vectors a table with these columns has."""
    for field in schema:
        if field.name.startswith(_VECTORS):
            return Kept(field.name, bytes.fromhex(field.name[len(_VECTORS) :]).decode(), field.type.list_size)
    return None


def told(error: BaseException) -> str:
    """An error of lancedb in one line."""
    words = " ".join(str(error).split(", /")[0].split()) or type(error).__name__
    return words.rstrip(".")[:300]


def unusable(uri: str, words: str) -> MemoryUnusable:
    """The error of a memory that cannot be opened."""
    return MemoryUnusable(
        f"The memory {uri!r} cannot be used: {words}.",
        remedy="Correct uri in [plugins.lancedb], or restore the folder from a backup.",
    )


def _locks(uri: str, data: str) -> Path:
    return Path(data) / f"memory-{digest(uri)[:16]}.locks" if "://" in uri else Path(uri)


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []


def _fsync(path: str) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(file)
    finally:
        os.close(file)
