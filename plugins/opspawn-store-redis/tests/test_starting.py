"""A server that would not keep what is asked of it is refused at the start, in one sentence with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opspawn.config import load_settings
from opspawn.config.settings import RetentionSettings
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.store import Batch, Delete, Put, TaskState
from opspawn.errors import StoreError, StoreUnusable
from opspawn.ops.housekeeping import prune_now
from opspawn_store_redis import RedisConfig, health
from opspawn_store_redis.packing import packed_each
from opspawn_store_redis.store import LAYOUT, RedisStore, open_redis
from opspawn_store_redis.testing import SERVER, RedisServer


async def refusal(config: RedisConfig) -> str:
    with pytest.raises(StoreUnusable) as caught:
        await (await open_redis(config)).aclose()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_server_without_a_log_is_refused(server: RedisServer) -> None:
    said = await refusal(RedisConfig(url=server.url))

    assert "appendonly no" in said
    assert "Set `appendonly yes`" in said


async def test_a_log_that_is_synced_less_often_than_asked_is_refused(tmp_path: Path) -> None:
    with RedisServer(tmp_path, aof="everysec") as server:
        said = await refusal(RedisConfig(url=server.url, durability="always"))
        store = await open_redis(RedisConfig(url=server.url, durability="everysec"))
        found = await store.check()
        await store.aclose()

    assert "appendfsync everysec" in said
    assert {finding.level for finding in found} == {"ok"}
    assert any("about the last second" in finding.what for finding in found)


async def test_a_server_that_evicts_is_refused(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}) as server:
        said = await refusal(RedisConfig(url=server.url, durability="none"))

    assert "maxmemory-policy allkeys-lru" in said


async def test_all_that_is_wrong_with_a_server_is_said_at_once(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"maxmemory-policy": "volatile-ttl"}) as server:
        said = await refusal(RedisConfig(url=server.url))

    assert "maxmemory-policy volatile-ttl" in said
    assert "appendonly no" in said
    assert "`maxmemory-policy noeviction`" in said
    assert "Set `appendonly yes`" in said


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    said = await refusal(RedisConfig(url="redis://me:secret@127.0.0.1:1/0", retry_s=0))

    assert "redis://127.0.0.1:1/0 cannot be reached" in said
    assert "secret" not in said


async def test_a_wrong_password_is_refused_at_once(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"requirepass": "right"}) as server:
        said = await refusal(RedisConfig(url=server.url, password="wrong", durability="none"))  # type: ignore[arg-type]
        store = await open_redis(RedisConfig(url=server.url, password="right", durability="none"))  # type: ignore[arg-type]
        await store.aclose()

    assert "refuses the user or the password" in said


async def test_a_password_that_is_set_counts_instead_of_that_of_the_url(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options={"requirepass": "ri@ght"}) as server:
        url = server.url.replace("//", "//default:wrong@")
        store = await open_redis(RedisConfig(url=url, password="ri@ght", durability="none"))  # type: ignore[arg-type]
        await store.aclose()
        by_url = RedisConfig(url=server.url.replace("//", "//:ri%40ght@"), durability="none")
        await (await open_redis(by_url)).aclose()


@pytest.mark.parametrize(
    ("kind", "version", "fits"),
    [("Redis", "6.2.14", False), ("Redis", "7.0.15", True), ("Valkey", "7.2.4", False), ("Valkey", "8.1.0", True)],
)
def test_a_version_that_is_too_old_is_refused(kind: str, version: str, fits: bool) -> None:
    server = health.Server(kind, version, {"aof_enabled": "1"}, "always")

    if fits:
        health.refuse_unfit(server, RedisConfig(), "it")
    else:
        with pytest.raises(StoreUnusable, match=r"too old\. Use"):
            health.refuse_unfit(server, RedisConfig(), "it")


@pytest.mark.parametrize("info", [{"cluster_enabled": "1"}, {"role": "slave"}])
def test_a_cluster_and_a_replica_are_refused(info: dict[str, str]) -> None:
    with pytest.raises(StoreUnusable):
        health.refuse_unfit(
            health.Server("Redis", "7.2.0", {"aof_enabled": "1", **info}, "always"), RedisConfig(), "it"
        )


@pytest.mark.parametrize("layout", [2, 3, 99])
async def test_what_another_version_has_written_is_refused(config: RedisConfig, layout: int) -> None:
    store = await open_redis(config)
    meta = f"osp:{{{config.namespace}}}:meta"
    if layout == 2:  # which had a hash there
        await store._calls.command("DEL", meta)
        await store._calls.command("HSET", meta, "layout", "2")
    else:
        await store._calls.command("SET", meta, packed_each((layout, "era", 0, 0, 0, 0, 0)))
    await store.aclose()

    assert f"in layout {layout}, not {LAYOUT}" in await refusal(config)


async def test_a_store_works_over_a_unix_socket(server: RedisServer) -> None:
    store = await open_redis(RedisConfig(url=f"unix://{server.folder}/redis.sock?db=0", durability="none"))
    assert await store.get_task("none") is None
    await store.aclose()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"url": "http://x"}, "must begin with"),
        ({"sentinels": ["here"]}, "HOST:PORT"),
        ({"tls_ca": "ca.pem"}, "rediss://"),
        ({"namespace": "a b"}, "pattern"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RedisConfig.model_validate(section)


async def cancel(store: RedisStore, id: str, *, maxmemory: str) -> int:
    """End a task with so much memory; its version."""
    await store._calls.command("CONFIG", "SET", "maxmemory", maxmemory)
    task = await store.get_task(id)
    assert task is not None
    await store.commit(Batch([Put(replace(task, state=TaskState.CANCELLED), task.version)]))
    return task.version + 1


async def test_a_full_server_says_so_and_nothing_is_applied_but_a_deletion(tmp_path: Path) -> None:
    from opspawn.testing.store_promises import create

    with RedisServer(tmp_path) as server:
        store = await open_redis(RedisConfig(url=server.url, durability="none"))
        await create(store, "t1")
        await store._calls.command("CONFIG", "SET", "maxmemory", "1mb")
        with pytest.raises(StoreError, match=r"memory of .* is used up"):
            await create(store, "t2")
        assert await store.get_task("t2") is None
        ended = await cancel(store, "t1", maxmemory="0")
        await store._calls.command("CONFIG", "SET", "maxmemory", "1mb")
        await store.commit(Batch([Delete("task", "t1", ended)]))  # what the remedy says is still possible
        assert await store.get_task("t1") is None
        await store._calls.command("CONFIG", "SET", "maxmemory", "0")
        await create(store, "t2")
        await store.aclose()


async def test_what_is_old_can_be_deleted_by_a_new_process_while_memory_is_used_up(tmp_path: Path) -> None:
    """As the remedy of that error says: by `opspawn store prune`, which opens the store and takes its turn first."""
    from opspawn.testing.store_promises import create

    with RedisServer(tmp_path) as server:
        config = RedisConfig(url=server.url, durability="none")
        store = await open_redis(config)
        await create(store, "t1")
        await cancel(store, "t1", maxmemory="0")
        await store._calls.command("CONFIG", "SET", "maxmemory", "1mb")
        other = await open_redis(config)
        done = await prune_now(other, RetentionSettings(), "me", SYSTEM_CLOCK, keep_at_most=0)
        await other.aclose()
        with pytest.raises(StoreError, match=r"memory of .* is used up"):
            await create(store, "t2")
        await store.aclose()

    assert done.tasks == 1


def test_our_tests_run_against_the_server_that_a_variable_names() -> None:
    """Which the fixture that hides the settings of whoever runs them would hide as well."""
    one = f"{__file__}::{test_a_store_works_over_a_unix_socket.__name__}"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", one],
        env={**os.environ, SERVER: "no-such-server"},
        capture_output=True,
        text=True,
    )

    assert f"{SERVER} names no-such-server" in ran.stdout


def test_the_variable_that_names_a_server_to_test_is_not_taken_for_a_setting(tmp_path: Path) -> None:
    """Tests that read the environment, as commands do, would all be refused for it."""
    assert load_settings(environ={SERVER: "redis-server"}, cwd=tmp_path).settings.store == "sqlite"
