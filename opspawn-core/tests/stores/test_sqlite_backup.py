"""A backup is of one moment, made while work goes on, and opens like the original."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from opspawn.contracts.store import Batch, EventQuery, Put, Record
from opspawn.errors import StoreError
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import commit, create, step


async def test_a_backup_made_while_others_commit_is_of_one_moment(tmp_path: Path) -> None:
    """Two records that are always changed together agree in it, and nothing that was committed before is missing."""
    store = await open_sqlite(str(tmp_path / "x.db"))
    await create(store, due_in_s=None)
    await commit(store, step({"n": -1}))
    stop = asyncio.Event()

    async def keep_writing() -> None:
        version = 0
        while not stop.is_set():
            pair = [Put(Record("k", id, {"n": version}), version) for id in ("a", "b")]
            await store.commit(Batch([*pair, step({"n": version, "text": "x" * 5000})]))
            version += 1

    writing = asyncio.ensure_future(keep_writing())
    for n in range(3):
        await store.backup(str(tmp_path / f"copy{n}.db"))
    stop.set()
    await writing
    await store.aclose()
    for n in range(3):
        copy = await open_sqlite(str(tmp_path / f"copy{n}.db"))
        a, b = await copy.get("k", "a"), await copy.get("k", "b")
        assert (a and a.data) == (b and b.data)
        events = await copy.events(EventQuery(limit=1000))
        assert [event.data["n"] for event in events] == list(range(-1, len(events) - 1))
        await commit(copy, step({"n": 0}))
        await copy.aclose()


async def test_a_backup_replaces_nothing(tmp_path: Path) -> None:
    """Neither a former backup nor the database itself."""
    store = await open_sqlite(str(tmp_path / "x.db"))
    (tmp_path / "old.db").write_text("precious")
    for path in (tmp_path / "old.db", tmp_path / "x.db"):
        with pytest.raises(StoreError, match="exists already"):
            await store.backup(str(path))
    assert (tmp_path / "old.db").read_text() == "precious"
    await store.aclose()


async def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = await open_sqlite(str(tmp_path / "x.db"))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StoreError, match="cannot be written") as caught:
        await store.backup(str(tmp_path / "none" / "copy.db"))
    assert caught.value.remedy
    assert sorted(os.listdir(tmp_path)) == before
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.backup(str(tmp_path / "copy.db"))


async def test_a_backup_is_for_its_owner_alone(tmp_path: Path) -> None:
    """And one file: nothing lies beside it."""
    store = await open_sqlite(str(tmp_path / "x.db"))
    (tmp_path / "backups").mkdir()
    await store.backup(str(tmp_path / "backups" / "copy.db"))
    await store.aclose()
    assert os.listdir(tmp_path / "backups") == ["copy.db"]
    assert (tmp_path / "backups" / "copy.db").stat().st_mode & 0o777 == 0o600


async def test_a_store_in_memory_is_kept_by_a_backup(tmp_path: Path) -> None:
    store = await open_sqlite()
    await commit(store, Put(Record("k", "i", {"n": 1}), 0))
    await store.backup(str(tmp_path / "copy.db"))
    await store.aclose()
    copy = await open_sqlite(str(tmp_path / "copy.db"))
    assert await copy.get("k", "i") is not None
    await copy.aclose()
