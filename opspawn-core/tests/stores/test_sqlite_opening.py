"""A database that cannot be used is refused with one line, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from loguru import logger

from opspawn.contracts.store import Batch, Put, Record
from opspawn.errors import StoreError, StoreUnusable
from opspawn.stores.plugin import SqliteConfig, open_store, opspawn_stores
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import the_record

NOBODY = 65534


async def refusal(path: Path, **options: float) -> str:
    """The one line with which a path is refused."""
    with pytest.raises(StoreUnusable) as caught:
        await open_sqlite(str(path), **options)  # type: ignore[arg-type]
    assert str(path) in str(caught.value) or repr(str(path)) in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def a_database(path: Path) -> None:
    """A database of ours with a record in it, closed."""
    store = await open_sqlite(str(path))
    await store.commit(Batch([Put(Record("k", "i", {"n": 1}), 0)]))
    await store.aclose()


@contextmanager
def as_nobody(*readable: Path) -> Iterator[None]:
    """Without the rights of root, for whom nothing is read-only; everything above the paths stays reachable."""
    if os.geteuid() != 0:
        yield
        return
    root = Path(os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir())
    for path in readable:
        for folder in path.parents:
            if folder.owner() == "root" and folder.is_relative_to(root) and folder != root:
                folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_database_that_lost_all_it_had_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    """A worker that was killed leaves its folder behind; where nothing tells of one, there is a line in the log."""
    path = tmp_path / "x.db"
    told: list[str] = []
    path.touch()
    (tmp_path / "x.db.workers").mkdir()
    assert "is empty, and workers have worked with it" in await refusal(path)
    assert path.stat().st_size == 0

    (tmp_path / "x.db.workers").rmdir()
    sink = logger.add(told.append, format="{message}")
    await a_database(path)
    logger.remove(sink)
    assert ["is an empty file: it begins as a new one" in line for line in told] == [True]


async def test_a_file_of_which_somebody_makes_a_database_just_now_is_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    told: list[str] = []
    await a_database(tmp_path / "made.db")
    path.touch()
    sink = logger.add(told.append, format="{message}")
    timer = threading.Timer(0.1, lambda: path.write_bytes((tmp_path / "made.db").read_bytes()))
    timer.start()
    store = await open_sqlite(str(path))
    timer.join()
    await store.aclose()
    logger.remove(sink)
    assert told == []


async def test_file_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "x.db"
    await a_database(path)
    assert path.exists()


async def test_what_was_committed_is_there_after_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    store = await open_sqlite(str(path))
    assert await the_record(store) == Record("k", "i", {"n": 1}, 1)
    await store.aclose()


async def test_only_the_database_and_its_lock_remain_after_closing(tmp_path: Path) -> None:
    await a_database(tmp_path / "x.db")
    assert sorted(os.listdir(tmp_path)) == ["x.db", "x.db.lock"]


async def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, today I opened the wrong file.")
    assert "is not a database" in await refusal(path)
    assert path.read_text().startswith("Dear diary")
    assert os.listdir(tmp_path) == ["notes.txt"]


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in await refusal(tmp_path)


async def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be opened" in await refusal(tmp_path / "file" / "x.db")


async def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE precious (x)")
        theirs.commit()
    before = path.read_bytes()
    assert "belongs to another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    assert "made by a newer Opspawn (layout 99" in await refusal(path)


@pytest.mark.parametrize("start", [100, 4096])
async def test_a_damaged_database_is_refused(tmp_path: Path, start: int) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 3000)
    assert "damaged" in await refusal(path)


async def test_damage_that_is_met_later_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    with closing(sqlite3.connect(path)) as reader:
        (page,) = reader.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 3000)
    store = await open_sqlite(str(path))
    with pytest.raises(StoreError, match="Restore"):
        await store.get("k", "i")
    await store.aclose()


async def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    os.truncate(path, 6000)
    assert "damaged" in await refusal(path)


async def test_a_database_that_stays_locked_is_refused_after_the_busy_time(tmp_path: Path) -> None:
    """One that must be made or changed first; the others open, and read, whoever writes."""
    path, ready = tmp_path / "x.db", tmp_path / "ready.db"
    await a_database(ready)
    for one in (path, ready):
        with closing(sqlite3.connect(one, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            if one is path:
                assert "locked by another program for 0.2 s" in await refusal(path, busy_timeout_s=0.2)
            else:
                await a_record_is_readable(ready)


async def a_record_is_readable(path: Path) -> None:
    """The database opens and holds what it held."""
    store = await open_sqlite(str(path))
    assert await store.get("k", "i") is not None
    await store.aclose()


async def test_a_database_whose_reads_are_refused_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """So it is while another process recovers it after a crash."""
    path = tmp_path / "x.db"
    await a_database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(open_sqlite(str(path)))
        done, _ = await asyncio.wait([opening], timeout=0.2)
        assert not done
    await (await opening).aclose()


async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await a_database(path)
    path.chmod(0o444)
    with as_nobody(path):
        assert "read-only" in await refusal(path)


async def test_a_read_only_folder_is_refused_and_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    with as_nobody(folder / "x.db"):
        await refusal(folder / "x.db")
        await refusal(folder / "new" / "x.db")
    assert os.listdir(folder) == []


async def test_nothing_is_left_of_a_failed_opening(tmp_path: Path) -> None:
    """Folders that were made on the way go as well."""
    path = tmp_path / "made" / "on" / "the" / "way" / ("x" * 300)
    await refusal(path)
    assert os.listdir(tmp_path) == []
    await refusal(tmp_path / ("x" * 300))
    await refusal(tmp_path / "a\0b")
    assert os.listdir(tmp_path) == []


async def test_the_plugin_opens_in_the_data_folder_or_where_it_is_told(tmp_path: Path) -> None:
    (record,) = opspawn_stores()
    assert (record.name, record.config) == ("sqlite", SqliteConfig)
    for section in (SqliteConfig(), SqliteConfig(path=str(tmp_path / "other.db"), synchronous="normal")):
        await (await open_store(section, str(tmp_path / "data"))).aclose()
    assert (tmp_path / "data" / "opspawn.db").exists()
    assert (tmp_path / "other.db").exists()


async def test_a_new_data_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Prompts and answers lie there, in files that the usual mask leaves readable for everybody."""
    await a_database(tmp_path / ".opspawn" / "x.db")

    assert (tmp_path / ".opspawn").stat().st_mode & 0o777 == 0o700


async def test_a_folder_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o770)

    await a_database(tmp_path / "shared" / "x.db")

    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o770
