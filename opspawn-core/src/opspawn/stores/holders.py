"""Who holds the lock of a database.

A process that was stopped, or hangs, in the middle of a commit or a checkpoint keeps all others from writing, and
nothing else tells which one it is. To ask the files themselves would drop the locks that SQLite holds on them for this
process; so the system's list of locks is read, where there is one (Linux).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from loguru import logger

from opspawn.errors import StoreError

#: After how many seconds of waiting somebody should hear of it.
ALARM_S = 5.0
_LOCKS = Path("/proc/locks")
#: Where in `-shm` SQLite marks who writes.
_WRITE_LOCK = 120
#: Where everybody who has the database open has a lock of the shared sort.
_OPEN_LOCK = 128
_REMEDY = "Close that program, or raise busy_timeout_s in [plugins.sqlite]."


class Holder(NamedTuple):
    """A process that holds the lock; `stopped` if it was suspended (SIGSTOP, ^Z) and does not even know."""

    pid: int
    command: str
    stopped: bool


class Holders:
    """Looks for the one that holds the lock of the database at a path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._told = False

    def find(self) -> Holder | None:
        """The other process that holds the lock to write, or a checkpoint; None if none is known."""
        commits, checkpoints = _inode(f"{self._path}-shm"), _inode(f"{self._path}.lock")
        for name, start, pid in _locks("WRITE"):
            if pid in (0, os.getpid()):
                continue
            if name == checkpoints or (name == commits and start == _WRITE_LOCK):
                return Holder(pid, _command(pid), _stopped(pid))
        return None

    def users(self) -> list[str]:
        """The other processes that have the database open."""
        index = _inode(f"{self._path}-shm")
        found = {pid for name, start, pid in _locks("READ") if name == index and start == _OPEN_LOCK}
        return [_named(pid) for pid in sorted(found - {os.getpid()})]

    def words(self) -> tuple[str, str]:
        """Who it is, and what to do about it."""
        holder = self.find()
        if holder is None:
            return "another program", _REMEDY
        who = _named(holder.pid, holder.command)
        if holder.stopped:
            remedy = f"Let it go on (kill -CONT {holder.pid}), or end it (kill -9 {holder.pid})."
            return f"{who}, which is stopped", remedy
        return who, f"If it hangs, end it (kill -9 {holder.pid}); or raise busy_timeout_s in [plugins.sqlite]."

    def failure(self, error: Exception) -> StoreError:
        """What the callers of a commit that waited in vain get."""
        who, remedy = self.words()
        failure = StoreError(f"Nothing can be committed to {self._path}: {who} holds its lock.", remedy=remedy)
        failure.__cause__ = error
        return failure

    def waited(self, seconds: float) -> None:
        """A commit waits; once, after `ALARM_S`, the log says for whom."""
        if seconds < ALARM_S:
            self._told = False
        elif not self._told:
            self._told = True
            who, remedy = self.words()
            logger.bind(error_type="store").warning(
                "Nothing can be committed for {:.0f} s: {} holds the lock of {}. {}", seconds, who, self._path, remedy
            )


def _named(pid: int, command: str | None = None) -> str:
    command = _command(pid) if command is None else command
    return f"process {pid} ({command})" if command else f"process {pid}"


def _locks(sort: Literal["READ", "WRITE"]) -> Iterator[tuple[str, int, int]]:
    """The system's locks of a sort: the file as DEVICE:INODE, the first byte, the process."""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return
    for line in lines:  # 1: POSIX  ADVISORY  WRITE 1234 fd:01:5678 120 120
        words = line.split()
        if len(words) >= 8 and words[1] in ("POSIX", "FLOCK") and words[3] == sort:
            yield words[5], int(words[6]), int(words[4])


def _inode(path: str) -> str | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:80]


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False
