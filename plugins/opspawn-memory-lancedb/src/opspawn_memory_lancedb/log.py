"""What was added and is not in the table yet: logs, each a file that only grows, and is on the disk when `append`
returns. A version of the table costs some milliseconds, however few rows it brings, and leaves files behind; so rows
wait here until there are many, until somebody reads, or for a moment.

An entry is its length, its checksum, and rows in Arrow's format. An entry that is not whole was never acknowledged.
"""

from __future__ import annotations

import os
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pyarrow as pa

_HEAD = struct.Struct("<QI")
_SUFFIX = ".log"


@dataclass(slots=True)
class Log:
    """A log that this process writes, with its rows. `asked`: they were given to the table, perhaps in vain."""

    path: Path
    file: int
    size: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    asked: bool = False

    def append(self, table: pa.Table) -> None:
        """Keep rows, on the disk. Raises: OSError: nothing was kept, and nothing more may be appended."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        body = memoryview(sink.getvalue())
        try:
            _write(self.file, _HEAD.pack(len(body), crc32(body)))
            _write(self.file, body)
            os.fdatasync(self.file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self.file, self.size)
            raise
        self.size += _HEAD.size + len(body)
        self.tables.append(table)
        self.rows += len(table)

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

    def any(self) -> bool:
        """Whether rows wait, of this process or of others."""
        return any(name.endswith(_SUFFIX) for name in os.listdir(self.folder))

    def paths(self) -> list[Path]:
        """All logs, the oldest first."""
        return sorted(self.folder / name for name in os.listdir(self.folder) if name.endswith(_SUFFIX))

    def new(self) -> Log:
        """A log, empty. Raises: OSError."""
        path = self.folder / f"{time.time_ns():020}-{os.urandom(4).hex()}{_SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Log(path, file)


def rows_in(path: Path) -> pa.Table | None:
    """The rows of a log that somebody else has left; None if it has none."""
    data = memoryview(path.read_bytes())
    tables = []
    at = 0
    while at + _HEAD.size <= len(data):
        size, check = _HEAD.unpack_from(data, at)
        body = bytes(data[at + _HEAD.size : at + _HEAD.size + size])  # a copy begins where Arrow wants it to
        if len(body) < size or crc32(body) != check:
            break
        tables.append(pa.ipc.open_stream(pa.py_buffer(body)).read_all())
        at += _HEAD.size + size
    return pa.concat_tables(tables) if tables else None


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
