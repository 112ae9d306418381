"""Room in the log of the database, so that commits do not make it longer.

A commit that makes a file longer waits until the file system has written down the new length, too, and so takes twice
as long as one that writes over what is there. So when the log grows it gets zeros behind its end, a megabyte at a time:
one commit of some thirty is slow then, and not each. For SQLite a log ends where a frame is not valid, as zeros never
are.
"""

from __future__ import annotations

import os
from sqlite3 import Connection

_ZEROS = bytes(1 << 16)
_STEP = [_ZEROS] * 16


class Room:
    """The end of the log of one database. For the writer thread alone.

    To close the log drops no lock of SQLite: it has none on this file.

    Args:
        most: bytes from which the log needs no more room, since a checkpoint makes it begin anew.
    """

    def __init__(self, database: str, most: int) -> None:
        self._path = f"{database}-wal"
        self._most = most
        self._file: int | None = None
        self._size = -1
        self._grows = False

    def look(self) -> None:
        """After a transaction, before anybody hears of it: see whether it has made the log longer."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
                self._size = os.fstat(self._file).st_size  # whoever commits once needs no room
            self._grows = self._size < os.fstat(self._file).st_size < self._most
        except OSError:  # it is there and may be opened, or no commit would be possible; if not, commits are slower
            self._grows = False

    def make(self, connection: Connection) -> None:
        """Between two groups: lengthen a log that grows. Raises: OSError, sqlite3.Error: not now."""
        if not self._grows or self._file is None:
            return
        self._grows = False
        connection.execute("BEGIN IMMEDIATE")  # guard: nobody writes frames where the zeros go
        try:
            size = os.fstat(self._file).st_size
            self._size = size + os.pwritev(self._file, _STEP, size)
        finally:
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
