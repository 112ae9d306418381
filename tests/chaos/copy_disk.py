"""Copies the files of a SQLite database as they are between two commits, and prints how many frames of the log are in
the database already. `python copy_disk.py DATABASE FOLDER`

Writers are held off by SQLite's own lock, checkpoints by the lock beside the database.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

#: Where the index of the log tells how many frames a checkpoint has moved (`WalCkptInfo.nBackfill`).
_BACKFILL_AT = 96


def copy(database: Path, target: Path) -> int:
    """Copy, and return that number. The index comes last: closing it drops our lock."""
    lock = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    connection = sqlite3.connect(database, timeout=60.0, isolation_level=None)
    fcntl.flock(lock, fcntl.LOCK_SH)
    connection.execute("BEGIN IMMEDIATE")
    shutil.copy(database, target / "opspawn.db")
    wal = Path(f"{database}-wal")
    if wal.exists():
        shutil.copy(wal, target / "opspawn.db-wal")
    moved: int = struct.unpack_from("=I", Path(f"{database}-shm").read_bytes(), _BACKFILL_AT)[0]
    return moved


if __name__ == "__main__":
    print(copy(Path(sys.argv[1]), Path(sys.argv[2])), flush=True)
    os._exit(0)
