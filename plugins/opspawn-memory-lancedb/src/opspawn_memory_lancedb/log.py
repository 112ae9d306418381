"""What was added and is not in the table yet: logs, each a file that only grows, and is on the disk when `append`
returns. A version of the table costs some milliseconds, however few rows it brings, and leaves files behind; so rows
wait here until there are many, until somebody reads, or for a moment.

An entry is its length, its checksum, and rows in Arrow's format; `entries` reads them. Of many rows the vectors come
first, as an entry of their own: the disk has to do with these while the rest is made.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pyarrow as pa

from opspawn_memory_lancedb.entries import FIRST, HEAD, REST

T = TypeVar("T")
SUFFIX = ".log"
#: The name that a log gets which is damaged, so that nobody reads it again.
_ASIDE = ".damaged"


@dataclass(slots=True, eq=False)
class Begun:
    """The first columns of rows, on their way to the disk."""

    log: Log
    names: list[str]
    synced: Future[None]


@dataclass(slots=True, eq=False)
class Log:
    """A log that this process writes. Its rows are in memory, too, if it `holds` them; `asked`: they were given to the
    table, perhaps in vain.

    After an OSError nothing more may be appended.
    """

    path: Path
    file: int
    beside: ThreadPoolExecutor
    holds: bool
    size: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    asked: bool = False

    def begin(self, columns: pa.Table) -> Begun:
        """Have columns of the next rows written, and synced meanwhile. They count once these are appended."""
        self._write(columns.replace_schema_metadata(FIRST))
        return Begun(self, columns.column_names, self._synced())

    def append(self, table: pa.Table, begun: Begun | None, meanwhile: Callable[[], T]) -> T:
        """Keep rows, on the disk, of which some columns may have begun, and return what `meanwhile` does while the disk
        has to do. Raises: OSError: nothing was kept.
        """
        if begun is None:
            self._write(table)
        else:
            self._write(table.drop_columns(begun.names).replace_schema_metadata(REST))
        synced = self._synced()
        try:
            done = meanwhile()
            synced.result()
            if begun is not None:
                begun.synced.result()
        except BaseException:
            self._undo()
            raise
        self.size = os.lseek(self.file, 0, os.SEEK_CUR)
        if self.holds:
            self.tables.append(table)
        self.rows += len(table)
        return done

    def _synced(self) -> Future[None]:
        """The syncing of what is written by now, which has begun."""
        under_way = threading.Event()
        synced = self.beside.submit(_sync, self.file, under_way)
        under_way.wait()  # it needs Python to begin
        return synced

    def _write(self, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        body = memoryview(sink.getvalue())
        try:
            _write(self.file, HEAD.pack(len(body), crc32(body)))
            _write(self.file, body)
        except OSError:
            self._undo()
            raise

    def _undo(self) -> None:
        with suppress(OSError):
            os.ftruncate(self.file, self.size)

    def close(self) -> None:
        """Leave it to whoever reads the folder. Idempotent."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class Logs:
    """The logs in a folder, those of other processes among them. Whoever writes or removes one holds `writing`, or
    has sealed it and holds `settling`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._beside = ThreadPoolExecutor(1, "opspawn-memory-syncer")

    def any(self) -> bool:
        """Whether rows wait, of this process or of others."""
        return any(name.endswith(SUFFIX) for name in os.listdir(self.folder))

    def paths(self) -> list[Path]:
        """All logs, the oldest first."""
        return sorted(self.folder / name for name in os.listdir(self.folder) if name.endswith(SUFFIX))

    def set_aside(self, path: Path) -> Path:
        """Have a log be read by nobody any more, and stay; the answer is where. Raises: OSError."""
        aside = path.with_suffix(_ASIDE)
        path.rename(aside)
        return aside

    def aside(self) -> list[Path]:
        """Logs that were set aside."""
        return sorted(self.folder / name for name in os.listdir(self.folder) if name.endswith(_ASIDE))

    def new(self, *, holds: bool) -> Log:
        """A log, empty, that holds its rows in memory, too, or does not. Raises: OSError."""
        path = self.folder / f"{time.time_ns():020}-{os.urandom(4).hex()}{SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Log(path, file, self._beside, holds)

    def close(self) -> None:
        """End the thread."""
        self._beside.shutdown()


def _sync(file: int, under_way: threading.Event) -> None:
    under_way.set()
    os.fdatasync(file)


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
