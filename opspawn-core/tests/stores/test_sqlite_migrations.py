"""A database of an older layout is brought to ours, whole or not at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opspawn.contracts.store import Query, TaskState
from opspawn.errors import StoreUnusable
from opspawn.stores import migrations
from opspawn.stores.layout import LAYOUT
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing.store_promises import claim, commit, step, the_record, the_task, wake

LAYOUT_1 = Path(__file__).with_name("layout1.sql")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of layout 1, as its last version wrote it; its process died with a lease."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as former:
        former.executescript(LAYOUT_1.read_text(encoding="utf-8"))
        former.execute("PRAGMA journal_mode = WAL")
    return path


def schema_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as reader:
        return sorted(row[0] for row in reader.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))


async def test_everything_is_there_after_a_migration(path: Path) -> None:
    """Tasks with all they carried, journals, records; and what is new can be asked of the old."""
    store = await open_sqlite(str(path))
    tasks = (await store.find_tasks(Query())).items
    assert [(task.id, task.state) for task in tasks] == [
        ("later", TaskState.QUEUED), ("second", TaskState.QUEUED), ("first", TaskState.QUEUED),
        ("running", TaskState.RUNNING), ("paused", TaskState.PAUSED), ("parked", TaskState.WAITING),
        ("failed", TaskState.FAILED), ("done", TaskState.SUCCEEDED),
    ]  # fmt: skip
    done, failed, first = [await the_task(store, id) for id in ("done", "failed", "first")]
    assert (done.input, done.result, done.labels) == (
        {"q": "Wie geht's? \U0001f600"}, "x" * 40_000, {"team": "blue", "n": "1"},
    )  # fmt: skip
    assert (done.agent, done.session, done.version, done.token) == ("helper", "s1", 2, 2)
    assert (failed.error, failed.attempt) == ({"type": "boom", "message": "b"}, 2)
    assert (first.priority, first.retry, first.timeout_s, first.parent) == (2, {"attempts": 3}, 1.5, "parked")
    assert first.created == datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert [event.type for event in await store.journal("done")] == ["task.accepted", "task.claimed", "step.done"]
    assert (await the_record(store, "agent", "helper")).data == {"state": "idle"}
    assert [task.id for task in (await store.find_tasks(Query(labels={"team": "blue"}))).items] == ["done"]
    assert [task.id for task in (await store.find_tasks(Query(ended_before=datetime.now(UTC)))).items] == [
        "failed", "done",
    ]  # fmt: skip
    await store.aclose()


async def test_work_goes_on_after_a_migration(path: Path) -> None:
    """What was due is claimed by rank, a lost lease counts, who parked is woken, and positions go on."""
    store = await open_sqlite(str(path))
    leases = await claim(store, "w2")
    assert [(lease.task.id, lease.task.deliveries) for lease in leases] == [
        ("first", 0), ("second", 0), ("running", 1), ("later", 0),
    ]  # fmt: skip
    await commit(store, wake("parked"))
    assert [lease.task.id for lease in await claim(store, "w2")] == ["parked"]
    assert (await commit(store, step(task="paused"))).positions[0] > 15
    await store.aclose()


async def test_a_migrated_database_looks_like_a_new_one(path: Path, tmp_path: Path) -> None:
    for each in (path, tmp_path / "new.db"):
        await (await open_sqlite(str(each))).aclose()
    assert schema_of(path) == schema_of(tmp_path / "new.db")
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("PRAGMA user_version").fetchone()[0] == LAYOUT
        assert reader.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """A label that is no label, at the end of it all, and nothing has changed; mended, it goes through."""
    with closing(sqlite3.connect(path)) as former:
        former.execute("UPDATE tasks SET labels = 'no JSON' WHERE id = 'later'")
        former.commit()
        before = list(former.iterdump())
    with pytest.raises(StoreUnusable, match="malformed JSON"):
        await open_sqlite(str(path))
    with closing(sqlite3.connect(path)) as former:
        assert list(former.iterdump()) == before
        assert former.execute("PRAGMA user_version").fetchone()[0] == 1
        former.execute("UPDATE tasks SET labels = '{}' WHERE id = 'later'")
        former.commit()
    await (await open_sqlite(str(path))).aclose()


async def test_a_database_that_an_older_program_uses_is_not_migrated_under_it(path: Path) -> None:
    """It says who must stop first; then it goes through."""
    with closing(sqlite3.connect(path)) as former:
        former.execute("SELECT count(*) FROM tasks").fetchone()
        with pytest.raises(StoreUnusable, match=r"layout 1 .* layout 2.* another process uses it") as caught:
            await open_sqlite(str(path), busy_timeout_s=0.2)
        assert caught.value.remedy == "Stop all processes that use it, then start this version."
        former.execute("INSERT INTO records VALUES ('k', 'i', 1, '{}')")
        former.commit()
    store = await open_sqlite(str(path))
    assert (await the_record(store)).version == 1
    await store.aclose()


async def test_of_two_that_migrate_at_once_one_does_it(path: Path) -> None:
    """The other waits and finds it done."""
    with closing(sqlite3.connect(path, isolation_level=None)) as one:
        assert migrations._begin_alone(one)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
            assert not migrations._begin_alone(other)
        one.execute("ROLLBACK")
        migrations.migrate(one, str(path), 0)
        migrations.migrate(one, str(path), 0)
        assert migrations.version(one) == LAYOUT


async def test_a_newer_database_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    await (await open_sqlite(str(path))).aclose()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {LAYOUT + 1}")
    with pytest.raises(StoreUnusable, match=rf"layout {LAYOUT + 1}; this one knows {LAYOUT}"):
        await open_sqlite(str(path))
