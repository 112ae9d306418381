"""A store is copied from SQLite to Redis and back, whatever comes between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn.cli import main
from opspawn.contracts.moving import Kept, Movable
from opspawn.contracts.store import Put, Record
from opspawn.errors import Conflict, InvalidTransition, StoreError, StoreUnusable
from opspawn.ops.moving import copy, refuse_unfinished
from opspawn.stores.sqlite import SqliteStore, open_sqlite
from opspawn.testing.store_promises import claim, commit, create, created_and_claimed, put, the_task
from opspawn.testing.store_promises.moves import everything, fill
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.moving import Moving
from opspawn_store_redis.store import RedisStore, open_redis
from opspawn_store_redis.testing import RedisServer


@pytest.fixture
async def sqlite() -> AsyncIterator[SqliteStore]:
    store = await open_sqlite()
    yield store
    await store.aclose()


@pytest.fixture
async def redis(config: RedisConfig) -> AsyncIterator[RedisStore]:
    store = await open_redis(config)
    yield store
    await store.aclose()


class Breaking:
    """A store whose restoring ends after some pieces, as if the process had died."""

    def __init__(self, store: Movable, pieces: int) -> None:
        self._store, self._pieces = store, pieces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def restore(self, items: Sequence[Kept]) -> None:
        """One item at a time, so that a piece may be half there."""
        for item in items:
            if self._pieces == 0:
                raise ConnectionError("the process died")
            self._pieces -= 1
            await self._store.restore([item])


async def test_there_and_back_everything_is_the_same(sqlite: SqliteStore, redis: RedisStore) -> None:
    """By count and digest, and by every value; also what is running, and leases go on."""
    await fill(sqlite)
    task = await created_and_claimed(sqlite)
    there = await copy(sqlite, redis, "the first")
    back = await open_sqlite()
    again = await copy(redis, back, "the second")
    assert again.parts == there.parts
    assert there.parts["tasks"].count == 4
    assert await everything(redis) == await everything(sqlite) == await everything(back)
    await put(back, task, state=type(task.state)("succeeded"))
    await back.aclose()


@pytest.mark.parametrize("pieces", [0, 3, 7])
async def test_an_interrupted_copy_is_not_opened_and_is_finished_by_repeating_it(
    sqlite: SqliteStore, redis: RedisStore, pieces: int
) -> None:
    await fill(sqlite)
    with pytest.raises(ConnectionError):
        await copy(sqlite, Breaking(redis, pieces), "the first")  # type: ignore[arg-type]
    with pytest.raises(StoreUnusable, match="unfinished copy of the first"):
        await refuse_unfinished(redis)
    with pytest.raises(InvalidTransition, match="unfinished copy of the first"):
        await copy(sqlite, redis, "another")
    done = await copy(sqlite, redis, "the first")
    await refuse_unfinished(redis)
    assert await everything(redis) == await everything(sqlite)
    assert (await copy(sqlite, redis, "the first")).already
    assert not done.already


async def test_a_store_that_holds_something_else_is_not_copied_to(sqlite: SqliteStore, redis: RedisStore) -> None:
    await create(sqlite)
    await create(redis, "t2")
    before = await everything(redis)
    with pytest.raises(InvalidTransition, match="is not empty"):
        await copy(sqlite, redis, "the first")
    assert await everything(redis) == before


async def test_a_copy_that_differs_is_never_called_one(sqlite: SqliteStore, redis: RedisStore) -> None:
    """As when something writes to the target meanwhile: the mark stays."""
    await create(sqlite)

    class Written(Breaking):
        async def restore(self, items: Sequence[Kept]) -> None:
            await self._store.restore(items)
            await create(self._store, "stranger")

    with pytest.raises(StoreError, match="2 tasks instead of 1"):
        await copy(sqlite, Written(redis, 0), "the first")  # type: ignore[arg-type]
    with pytest.raises(StoreUnusable):
        await refuse_unfinished(redis)


async def test_what_went_on_since_an_interrupted_copy_is_refused(sqlite: SqliteStore, redis: RedisStore) -> None:
    """Instead of mixing two states of a task."""
    await create(sqlite)
    with pytest.raises(ConnectionError):
        await copy(sqlite, Breaking(redis, 1), "the first")  # type: ignore[arg-type]
    (lease,) = await claim(sqlite)
    await put(sqlite, lease.task, state=type(lease.task.state)("succeeded"))
    with pytest.raises(Conflict, match="at version 1 and not 2"):
        await copy(sqlite, redis, "the first")


async def test_who_may_not_list_the_clients_sees_the_leases(server: RedisServer, config: RedisConfig) -> None:
    """Of a user that has what the documentation asks for."""
    store = await open_redis(config)
    rules = ("~osp:*", "&osp:*", "+@all", "-@dangerous", "+info", "+config|get")
    await store._calls.command("ACL", "SETUSER", "app", "reset", "on", ">secret", *rules)
    await created_and_claimed(store, worker="w1")
    own = config.model_copy(update={"username": "app", "password": RedisConfig(password="secret").password})  # type: ignore[arg-type]
    limited = await open_redis(own)
    assert isinstance(limited, Moving)
    (user,) = await limited.others()
    assert user.startswith("worker w1, whose lease ends at ")
    about = {"host": "there", "pid": 7, "version": "1", "queues": [], "handlers": [], "slots": 1, "running": 0}
    about |= {"draining": False, "started": "2026-01-01T00:00:00Z", "every_s": 15.0, "more_handlers": 0}
    await commit(store, Put(Record("worker", "idle", about), 0))
    assert "worker idle, process 7 on there" in await limited.others()
    assert await store.others() == []
    assert (await the_task(limited)).owner == "w1"
    await commit(limited)
    for one in (limited, store):
        await one.aclose()


async def test_records_of_workers_are_not_copied(sqlite: SqliteStore, redis: RedisStore) -> None:
    """They tell of processes, which do not go with the store."""
    await commit(sqlite, Put(Record("worker", "w1", {}), 0), Put(Record("k", "i", {}), 0))
    assert (await copy(sqlite, redis, "the first")).parts["records"].count == 1
    assert await redis.get("worker", "w1") is None


def test_an_address_is_copied_to_whatever_the_section_says_of_another_server(
    config: RedisConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither its Sentinels nor its files of TLS count, and the lines that are told say so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "opspawn.toml").write_text(
        '[plugins.redis]\nurl = "rediss:///0"\nsentinels = ["127.0.0.1:1"]\ntls_ca = "ca.pem"\ndurability = "none"\n'
    )
    asyncio.run(_filled(tmp_path / "a.db"))
    address = f"{config.url}?namespace={config.namespace}"

    with pytest.raises(SystemExit) as ended:
        main(["store", "copy", "--from", "sqlite:a.db", "--to", address])

    told = capsys.readouterr().err
    assert ended.value.code == 0, told
    lines = f'url = "{config.url}", namespace = "{config.namespace}" into opspawn.toml, and take out sentinels, tls_ca.'
    assert lines in told
    assert asyncio.run(_there(config)) == "t1"


async def _filled(path: Path) -> None:
    store = await open_sqlite(str(path))
    await create(store)
    await store.aclose()


async def _there(config: RedisConfig) -> str:
    store = await open_redis(config)
    task = await the_task(store)
    await store.aclose()
    return task.id
