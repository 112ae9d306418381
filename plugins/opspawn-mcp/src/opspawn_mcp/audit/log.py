"""The files of the audit log, which several processes write at once.

`head` says where the chain ends, and its lock is held by whoever writes. A process that is killed between the record
and the head leaves a record that fits the chain, or a part of one: the next who writes takes the one in, and cuts the
other off, which nobody has relied on. Whatever else does not fit stops the log until somebody has looked.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opspawn.errors import OpspawnError
from opspawn_mcp.audit.chain import NOTHING, Broken, Chain

#: A file is followed by the next one once it is so long, in bytes.
SEGMENT_BYTES = 8 << 20
#: How long one waits for another process that writes, in seconds.
_PATIENCE_S = 5.0
_TICK_S = 0.001
_HEAD = 160
_DAY_S = 86_400.0


class AuditFailed(OpspawnError):
    """Nothing can be recorded; says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends: the file, how much of it counts, the number of the last record, and its hash."""

    segment: int = 1
    size: int = 0
    n: int = 0
    hash: str = NOTHING

    def to_bytes(self) -> bytes:
        """A line of a fixed length."""
        return f"{self.segment} {self.size} {self.n} {self.hash}".ljust(_HEAD - 1).encode() + b"\n"

    @classmethod
    def of(cls, data: bytes) -> Head:
        """The head that a file holds. Raises: AuditFailed: it holds something else."""
        if not data:
            return cls()
        try:
            segment, size, n, made = data.decode().split()
            return cls(int(segment), int(size), int(n), made)
        except ValueError:
            raise AuditFailed("The head of the MCP audit log is damaged.", remedy=REMEDY) from None


REMEDY = "Run 'opspawn mcp audit verify'; to begin a new log, move the folder away and keep it."


class AuditLog:
    """The log in a folder. Belongs to one event loop; other processes may write beside it."""

    def __init__(
        self,
        folder: Path,
        chain: Chain,
        *,
        max_bytes: int,
        keep_s: float | None,
        sync: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self._path = os.fspath(folder / "head")
        self._chain = chain
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._sync = sync
        self._segment_bytes = segment_bytes
        self._head: int | None = None
        self._file: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    async def append(self, record: Mapping[str, Any]) -> int:
        """Record something; gives its number. Raises: AuditFailed: it could not be written, or the log was tampered
        with.
        """
        async with self._turn:
            try:
                held = await self._lock()
                try:
                    return self._append(held, record)
                finally:
                    fcntl.flock(held, fcntl.LOCK_UN)
            except OSError as error:
                self.close()
                words = f"The MCP audit log {self.folder} cannot be written: {error.strerror or error}."
                raise AuditFailed(words) from error

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for file in (self._head, self._file[1] if self._file else None):
            if file is not None:
                os.close(file)
        self._head = self._file = None

    async def _lock(self) -> int:
        """The file of the head, which nobody else writes until it is unlocked."""
        left = _PATIENCE_S
        while True:
            try:
                held = self._opened()
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return held
            except BlockingIOError:
                if (left := left - _TICK_S) <= 0:
                    raise AuditFailed(f"Another process holds the MCP audit log {self.folder} for too long.") from None
                await asyncio.sleep(_TICK_S)

    def _opened(self) -> int:
        """The file of the head. One that was moved away with its folder is not written any more."""
        if self._head is not None:
            try:
                if os.stat(self._path).st_ino == os.fstat(self._head).st_ino:
                    return self._head
            except FileNotFoundError:
                pass
            self.close()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._head = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._head

    def _append(self, held: int, record: Mapping[str, Any]) -> int:
        head = self._mended(Head.of(os.pread(held, _HEAD, 0)))
        if head.size >= self._segment_bytes:
            head = self._next(held, head)
        return self._put(held, head, record).n

    def _put(self, held: int, head: Head, record: Mapping[str, Any]) -> Head:
        line, made = self._chain.line(record, head.n + 1, head.hash)
        data = f"{line}\n".encode("utf-8", "surrogatepass")
        file = self._segment(head.segment)
        written = os.write(file, data)
        if written < len(data):  # the disk is full: nothing of it counts
            os.ftruncate(file, head.size)
            raise OSError(28, "No space left on device")
        if self._sync:
            os.fsync(file)
        after = Head(head.segment, head.size + len(data), head.n + 1, made)
        os.pwrite(held, after.to_bytes(), 0)
        return after

    def _segment(self, number: int) -> int:
        if self._file is None or self._file[0] != number:
            if self._file is not None:
                os.close(self._file[1])
                self._file = None
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = number, os.open(path_of(self.folder, number), flags, 0o600)
        return self._file[1]

    def _mended(self, head: Head) -> Head:
        """The head, with what a killed process left behind it taken in or cut off. Raises: AuditFailed."""
        file = self._segment(head.segment)
        size = os.fstat(file).st_size
        if size == head.size:
            return head
        if size < head.size:
            raise AuditFailed(f"Records were cut off at the end of the MCP audit log {self.folder}.", remedy=REMEDY)
        whole, _, _ = os.pread(file, size - head.size, head.size).rpartition(b"\n")
        for line in whole.split(b"\n") if whole else ():
            try:
                record, made = self._chain.read(line.decode("utf-8", "surrogatepass"), head.n + 1, head.hash)
            except (Broken, UnicodeDecodeError) as error:
                words = f"Something else was written to the MCP audit log {self.folder}: a line that {error}."
                raise AuditFailed(words, remedy=REMEDY) from None
            head = Head(head.segment, head.size + len(line) + 1, record["n"], made)
        if size > head.size:
            os.ftruncate(file, head.size)
        return head

    def _next(self, held: int, head: Head) -> Head:
        """Go on in a new file, after what is too old or too much has gone; that it went is recorded."""
        files = segments(self.folder)
        gone, total = [], sum(size for _, size, _ in files)
        for number, size, changed in files[:-1]:
            old = self._keep_s is not None and time.time() - changed > self._keep_s
            if not old and total <= self._max_bytes - self._segment_bytes:
                break
            gone.append(number)
            total -= size
        head = Head(head.segment + 1, 0, head.n, head.hash)
        if gone:
            n, made = _last_of(path_of(self.folder, gone[-1]))
            head = self._put(held, head, {"kind": "retention", "at": now(), "removedThrough": n, "lastHash": made})
            for number in gone:
                path_of(self.folder, number).unlink(missing_ok=True)
        return head


def now() -> str:
    """The time, as records have it."""
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"


def path_of(folder: Path, segment: int) -> Path:
    """A file of the log."""
    return folder / f"{segment:08d}.jsonl"


def segments(folder: Path) -> list[tuple[int, int, float]]:
    """The files, oldest first: number, size in bytes, and when it was last written, in epoch seconds."""
    found = []
    for path in folder.glob("*.jsonl"):
        if path.stem.isdigit():
            stat = path.stat()
            found.append((int(path.stem), stat.st_size, stat.st_mtime))
    return sorted(found)


def _last_of(path: Path) -> tuple[int, str]:
    from opspawn_mcp.audit.chain import parsed

    try:
        record, made = parsed(path.read_text("utf-8").rstrip("\n").rpartition("\n")[2])
    except (Broken, UnicodeDecodeError):
        raise AuditFailed(f"The MCP audit log {path} does not end with a record.", remedy=REMEDY) from None
    return record["n"], made
