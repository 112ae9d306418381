"""The log gets room in steps, where nobody writes, and what lies there is never taken for a commit."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from opspawn.contracts.store import Batch, Put, Query, Record
from opspawn.stores import schema
from opspawn.stores.room import Room
from opspawn.stores.sqlite import SqliteStore, open_sqlite

STEP = 1 << 20


async def put(store: SqliteStore, *numbers: int) -> None:
    for number in numbers:
        await store.commit(Batch([Put(Record("thing", f"r{number}", {"number": number}), expect=0)]))


def log(path: Path) -> int:
    return os.stat(f"{path}-wal").st_size


async def test_commits_do_not_make_the_log_longer_but_for_one_of_many(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await open_sqlite(str(path))
    await put(store, 1, 2, 3)
    before = log(path)

    await put(store, *range(4, 24))

    assert before > STEP
    assert log(path) == before
    await store.aclose()


async def test_a_log_with_room_is_read_up_to_the_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = await open_sqlite(str(path))
    await put(store, *range(10))
    for name in (path.name, f"{path.name}-wal"):  # as a power failure would leave them
        shutil.copy(tmp_path / name, tmp_path / f"copy-{name}")
    await store.aclose()

    copy = await open_sqlite(str(tmp_path / "copy-a.db"))

    found = await copy.find("thing", Query())
    await put(copy, 10)
    await copy.aclose()
    assert [record.data["number"] for record in found.items] == [*reversed(range(10))]


async def test_no_room_is_made_while_somebody_else_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    await (await open_sqlite(str(path))).aclose()
    mine, other = (schema.connect(str(path), 0.0) for _ in range(2))
    room = Room(str(path), most=16 * STEP)
    grow(mine)
    room.look()
    grow(mine)
    room.look()
    other.execute("BEGIN IMMEDIATE")
    before = log(path)

    with pytest.raises(sqlite3.OperationalError):
        room.make(mine)

    assert log(path) == before
    other.execute("ROLLBACK")
    for one in (mine, other):
        one.close()
    room.close()


def grow(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE clock SET time = time + 1")
