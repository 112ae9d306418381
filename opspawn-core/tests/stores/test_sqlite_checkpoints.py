"""The log is moved into the database by us alone, and never while another process commits."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

from opspawn.contracts.store import Batch, Put, Record
from opspawn.stores.checkpoints import CHECKPOINT_PAGES, Checkpoints
from opspawn.stores.sqlite import open_sqlite

PAYLOAD = {"text": "x" * 50_000}


async def write(path: Path, count: int) -> int:
    """Commit `count` large records one after another; the answer is the size of the log then, in pages."""
    store = await open_sqlite(str(path))
    for number in range(count):
        await store.commit(Batch([Put(Record("thing", f"r{number}", PAYLOAD), expect=0)]))
    pages = os.stat(f"{path}-wal").st_size // 4096
    await store.aclose()
    return pages


async def test_the_log_does_not_grow_without_bound(tmp_path: Path) -> None:
    pages = await write(tmp_path / "a.db", 800)

    assert CHECKPOINT_PAGES // 2 < pages < 2 * CHECKPOINT_PAGES


async def test_no_checkpoint_is_made_while_another_process_commits(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    other = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_SH)

    pages = await write(path, 800)

    os.close(other)
    assert pages > 2 * CHECKPOINT_PAGES


def test_commits_wait_for_a_checkpoint_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    mine = Checkpoints(str(path))
    mine.hold_off(1.0)
    other = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except BlockingIOError:
        locked = False
    os.close(other)
    mine.let()
    mine.close()

    assert not locked


async def test_sqlite_makes_no_checkpoints_of_its_own(tmp_path: Path) -> None:
    store = await open_sqlite(str(tmp_path / "d.db"))
    connection: sqlite3.Connection = store._writer._connection

    assert connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
    await store.aclose()
