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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from opspawn.errors import OpspawnError
from opspawn_mcp.audit.chain import NOTHING, Broken, Chain

#: A file is followed by the next one once it is so long, in bytes.
SEGMENT_BYTES = 8 << 20
#: How long one waits for another process that writes, in seconds.
_PATIENCE_S = 5.0
_TICK_S = 0.001
#: How often the folder is looked for, in seconds.
_LOOK_S = 0.02
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
        self._inode = 0
        self._look_at = 0.0
        self._known = b"", Head()  # what this one wrote last
        self._file: tuple[int, int] | None = None
        self._turn = asyncio.Lock()

    def append_now(self, *records: Mapping[str, Any]) -> int | None:
        """As `append`; None, and nothing is recorded, while somebody else writes."""
        return None if self._turn.locked() else self._try(records)

    async def append(self, *records: Mapping[str, Any]) -> int:
        """Record these, one after the other, all or none; gives the number of the last.

        Raises: AuditFailed: they could not be written, or the log was tampered with.
        """
        if (n := self.append_now(*records)) is not None:
            return n
        async with self._turn:
            left = _PATIENCE_S
            while (n := self._try(records)) is None:
                if (left := left - _TICK_S) <= 0:
                    raise AuditFailed(f"Another process holds the MCP audit log {self.folder} for too long.")
                await asyncio.sleep(_TICK_S)
            return n

    def close(self) -> None:
        """Close the files; they are opened again when they are needed."""
        for file in (self._head, self._file[1] if self._file else None):
            if file is not None:
                os.close(file)
        self._head = self._file = None

    def _try(self, records: Sequence[Mapping[str, Any]]) -> int | None:
        """The number of the last; None while another process writes. Raises: AuditFailed."""
        try:
            held = self._opened()
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            try:
                head = self._mended(held)
                if head.size >= self._segment_bytes:
                    head = self._next(held, head)
                return self._put(held, head, records).n
            finally:
                fcntl.flock(held, fcntl.LOCK_UN)
        except OSError as error:
            self.close()
            words = f"The MCP audit log {self.folder} cannot be written: {error.strerror or error}."
            raise AuditFailed(words) from error

    def _opened(self) -> int:
        """The file of the head. One that was moved away with its folder is written for a moment at most."""
        if self._head is not None:
            if (at := time.monotonic()) < self._look_at:
                return self._head
            try:
                if os.stat(self._path).st_ino == self._inode:
                    self._look_at = at + _LOOK_S
                    return self._head
            except FileNotFoundError:
                pass
            self.close()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._head = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._inode = os.fstat(self._head).st_ino
        return self._head

    def _put(self, held: int, head: Head, records: Sequence[Mapping[str, Any]]) -> Head:
        lines, n, made = [], head.n, head.hash
        for record in records:
            n += 1
            line, made = self._chain.line(record, n, made)
            lines.append(line)
        data = b"".join(lines)
        file = self._segment(head.segment)
        written = os.write(file, data)
        if written < len(data):  # the disk is full: nothing of it counts
            os.ftruncate(file, head.size)
            raise OSError(28, "No space left on device")
        if self._sync:
            os.fsync(file)
        after = Head(head.segment, head.size + len(data), n, made)
        told = after.to_bytes()
        os.pwrite(held, told, 0)
        self._known = told, after
        return after

    def _segment(self, number: int) -> int:
        if self._file is None or self._file[0] != number:
            if self._file is not None:
                os.close(self._file[1])
                self._file = None
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = number, os.open(path_of(self.folder, number), flags, 0o600)
        return self._file[1]

    def _mended(self, held: int) -> Head:
        """The head, with what a killed process left behind it taken in or cut off. Raises: AuditFailed."""
        told = os.pread(held, _HEAD, 0)
        head = self._known[1] if told == self._known[0] else Head.of(told)
        file = self._segment(head.segment)
        size = os.lseek(file, 0, os.SEEK_END)
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
            gap = {"kind": "retention", "at": now(), "removedThrough": n, "lastHash": made}
            head = self._put(held, head, [gap])
            for number in gone:
                path_of(self.folder, number).unlink(missing_ok=True)
        return head


def now() -> str:
    """The time, as records have it."""
    seconds = time.time()
    whole = int(seconds)
    return f"{_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


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
