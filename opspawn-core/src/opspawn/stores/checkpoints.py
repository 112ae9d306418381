"""Checkpoints that no commit of another process can meet.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database, very rarely, when two connections write and checkpoint at the same
instant (fixed in 3.51.3; Python often brings an older one). So SQLite's own checkpoints are off, commits hold a shared
lock on a file beside the database, and a checkpoint is made by the writer thread, between two groups, under the
exclusive lock. What SQLite does
when the last connection closes needs no lock: nobody else is there.
"""

from __future__ import annotations

import fcntl
import os
import time
from sqlite3 import Connection

from opspawn.stores.room import Room

#: Pages that the log should hold when they are moved into the database: 16 MB. A page that was written often is moved
#: once, while all commits stand still; with SQLite's own default, 1,000, they stood still twice as long in all.
CHECKPOINT_PAGES = 4000
_FEWEST, _MOST = 8, 4096  # groups between two checkpoints
_RETRY_S = 0.001
_FRAME = 4096 + 24  # bytes of a page in the log


class CheckpointHeld(Exception):
    """Another process holds the exclusive lock for longer than a checkpoint takes."""


class Checkpoints:
    """The lock of one process on one database. For the writer thread alone.

    How full the log is, only a checkpoint tells: reading `-shm` ourselves would, on closing it, drop the locks that
    SQLite holds on it for this process. So the pages of the last groups say after how many the next checkpoint is due.
    """

    def __init__(self, database: str) -> None:
        self._file = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._groups = 0
        self._every = 64
        self._left = 0
        self._room = Room(database, CHECKPOINT_PAGES * _FRAME)

    def hold_off(self, timeout_s: float) -> None:
        """Keep checkpoints away while a transaction is open, until `let`.

        Raises: CheckpointHeld: the process that makes one does not end it within `timeout_s` seconds.
        """
        give_up = None
        while not self._share():
            now = time.monotonic()
            give_up = give_up or now + timeout_s
            if now >= give_up:
                raise CheckpointHeld("a checkpoint of another process does not end")
            time.sleep(_RETRY_S)

    def let(self) -> None:
        """No transaction is open: whoever is to make a checkpoint may."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._room.look()

    def _share(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def rest(self, connection: Connection) -> None:
        """Between two groups: make room in the log, checkpoint if one is due.

        Never waits for another process; then the next rest tries again.
        """
        self._room.make(connection)
        self._groups += 1
        if self._groups < self._every:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        grown = max(1, pages - self._left)
        self._every = min(_MOST, max(_FEWEST, self._groups * CHECKPOINT_PAGES // grown))
        self._groups = 0
        self._left = pages if moved < pages else 0  # a log that was moved whole begins anew

    def close(self) -> None:
        """Let the lock go. The file stays: removing it could part two processes that lock it."""
        self._room.close()
        os.close(self._file)
