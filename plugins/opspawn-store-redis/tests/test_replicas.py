"""A replica takes over, and the server before it later takes over again: who goes on, and who notices what was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from opspawn.errors import StoreError
from opspawn.testing.store_promises import claim, create, ids
from opspawn_store_redis import RedisConfig, functions
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.watermark import Watermark


def say(server: RedisServer, *words: object) -> Any:
    with redis.Redis.from_url(server.url) as client:  # type: ignore[no-untyped-call]
        return client.execute_command(*words)  # type: ignore[no-untyped-call]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def replicates(replica: RedisServer, master: RedisServer) -> bool:
    """Whether it has all of its master."""
    there, here = (say(one, "INFO", "replication") for one in (master, replica))
    up = (there["role"], here["role"], here.get("master_link_status")) == ("master", "slave", "up")
    return up and there["master_repl_offset"] == here["master_repl_offset"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A master and its replica."""
    with ExitStack() as stack:
        at_once = {"repl-diskless-sync-delay": "0"}
        one, other = (stack.enter_context(RedisServer(tmp_path / name, options=at_once)) for name in ("one", "other"))
        say(other, "REPLICAOF", "127.0.0.1", one.port)
        yield one, other


async def test_a_replica_that_is_promoted_by_hand_is_gone_on_with(pair: tuple[RedisServer, RedisServer]) -> None:
    """By processes that are led to it while it takes no writes yet."""
    one, other = pair
    async with Proxy(one.port) as way:
        store = await open_redis(RedisConfig(url=way.url, durability="none", retry_s=20))
        await create(store, "t1")
        await until(lambda: replicates(other, one))
        one.kill()
        way.lead_to(other.port)
        creating = asyncio.create_task(create(store, "t2"))
        await asyncio.sleep(0.5)
        say(other, "REPLICAOF", "NO", "ONE")
        await creating
        leases = await claim(store, slots=2)
        await store.ready()
        await store.aclose()

    assert ids(leases) == ["t1", "t2"]
    assert store.alarm is None


async def test_a_loss_is_noticed_on_a_server_that_was_the_master_before(pair: tuple[RedisServer, RedisServer]) -> None:
    """It goes on with what another one had begun, and whose last writes it lacks, however many were made since."""
    one, other = pair
    async with Proxy(one.port) as way:
        web = await open_redis(RedisConfig(url=way.url, durability="none", retry_s=20))
        await create(web, "t1")
        await until(lambda: replicates(other, one))
        say(one, "FAILOVER")
        await until(lambda: replicates(one, other))
        way.lead_to(other.port)
        await create(web, "t2")
        await web.ready()
        await until(lambda: replicates(one, other))
        say(one, "CONFIG", "SET", "masterauth", "wrong")  # so that it hears no more
        say(other, "CLIENT", "KILL", "TYPE", "replica")
        await create(web, "lost")
        await web._watch.aclose()  # as one that is slow to look
        other.kill()
        say(one, "REPLICAOF", "NO", "ONE")
        later = await open_redis(RedisConfig(url=one.url, durability="none"))
        for n in range(5):
            await create(later, f"later{n}")
        way.lead_to(one.port)
        with pytest.raises(StoreError, match="lost 1 writes"):
            await web.ready()
        await later.aclose()
        await web.aclose()


async def test_an_operator_is_told_what_makes_a_fail_over_lose_less(pair: tuple[RedisServer, RedisServer]) -> None:
    one, other = pair
    await until(lambda: replicates(other, one))
    store = await open_redis(RedisConfig(url=one.url, durability="none"))
    (before,) = [finding for finding in await store.check() if "fail-over" in finding.what]
    say(one, "CONFIG", "SET", "min-replicas-to-write", 1)
    (after,) = [finding for finding in await store.check() if "fail-over" in finding.what]
    await store.aclose()

    assert "ack_replicas = 1 in [plugins.redis] and `min-replicas-to-write 1` in the server" in str(before.remedy)
    assert "min-replicas" not in str(after.remedy)


async def test_a_server_that_became_a_replica_is_told_apart_from_one_that_is_away(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    one, other = pair
    store = await open_redis(RedisConfig(url=one.url, durability="none", retry_s=0.2))
    await until(lambda: replicates(other, one))
    say(one, "FAILOVER")
    await until(lambda: replicates(one, other))
    with pytest.raises(StoreError, match=r"is a replica, and takes no writes\. Promote it"):
        await create(store, "t1")
    await store.aclose()


async def test_a_server_that_lacks_replicas_to_write_is_told_apart_from_one_that_is_away(server: RedisServer) -> None:
    store = await open_redis(RedisConfig(url=server.url, namespace="alone", durability="none", retry_s=0.2))
    say(server, "CONFIG", "SET", "min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreError, match=r"Too few replicas keep up"):
            await create(store, "t1")
        assert await store.get_task("t1") is None
    finally:
        say(server, "CONFIG", "SET", "min-replicas-to-write", 0)
    await store.aclose()


async def test_two_versions_of_this_package_go_on_in_one_era(server: RedisServer, config: RedisConfig) -> None:
    """A library that is new to a server begins one; the other takes that for its own from then on."""
    other = f"{functions.function('renew').removesuffix('_renew')}_other"
    say(server, "FUNCTION", "LOAD", functions.library().replace(other.removesuffix("_other"), other))
    store = await open_redis(config)
    eras = []
    for n in range(3):
        meta = f"osp:{{{config.namespace}}}:meta"
        eras.append(say(server, "FCALL", f"{other}_renew", 1, meta, "", "w", "1000000", 0)[3])
        await create(store, f"t{n}")
        eras.append((await store._calls.read("read", "state"))[3])
    await store.aclose()

    assert len(set(eras)) == 1


def test_a_reply_that_was_on_its_way_while_an_era_was_learnt_counts() -> None:
    mark = Watermark()
    mark.learn(mark.since, (0, 1, 5, b"first", 5, 0))
    before = mark.since
    mark.learn(before, (0, 1, 5, b"second", 5, 5))

    assert mark.rises(before, pos=2, writes=6, era=b"second")
    assert mark.since == (b"second", 6)
