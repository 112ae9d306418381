"""The server is killed, loses its data, or its replies are lost: what the store makes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from opspawn.contracts.store import Batch, EventQuery
from opspawn.testing.store_promises import claim, create, created_and_claimed, ids, step, the_task
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer


async def test_what_was_confirmed_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    """With the log synced at each commit, and by the same store object, which tries again meanwhile."""
    with RedisServer(tmp_path, aof="always") as server:
        store = await open_redis(RedisConfig(url=server.url, durability="always", retry_s=20))
        for n in range(20):
            await create(store, f"t{n}")
        server.kill()
        writing = asyncio.ensure_future(create(store, "later"))
        await asyncio.sleep(0.1)
        server.start()
        await writing
        assert [await store.get_task(f"t{n}") is not None for n in range(20)] == [True] * 20
        assert store.alarm is None
        assert len(await claim(store, slots=30)) == 21
        await store.aclose()


async def test_a_server_that_comes_back_without_its_data_raises_the_alarm(tmp_path: Path) -> None:
    """In the store, in its check and in the journal; and positions go on from where they were."""
    with RedisServer(tmp_path) as server:
        store = await open_redis(RedisConfig(url=server.url, durability="none"))
        await created_and_claimed(store)
        before = (await store.events(EventQuery()))[-1].position
        server.kill()
        server.start()
        await create(store, "t2")
        async with asyncio.timeout(20):
            while not (  # noqa: ASYNC110
                events := await store.events(EventQuery(types=("store.went_back",)))
            ):
                await asyncio.sleep(0.01)
        assert events[0].position > before
        assert store.alarm is not None
        assert (await store.check())[0].level == "error"
        await create(store, "t3")
        assert len(await store.events(EventQuery(types=("store.went_back",)))) == 1
        await store.aclose()


async def test_a_commit_whose_reply_is_lost_is_applied_once(server: RedisServer, config: RedisConfig) -> None:
    """The store asks again by itself, and gets the first answer."""
    async with Proxy(server.port) as proxy:
        store = await open_redis(config.model_copy(update={"url": proxy.url}))
        await create(store)
        for n in range(10):
            proxy.cut_next_reply()
            await store.commit(Batch([step({"n": n})]))
        assert proxy.cut == 10
        assert [event.data["n"] for event in await store.journal("t1")] == list(range(10))
        await store.aclose()


async def test_a_claim_whose_reply_is_lost_is_made_once(server: RedisServer, config: RedisConfig) -> None:
    """The worker gets the tasks that were leased, and none stays leased to nobody."""
    async with Proxy(server.port) as proxy:
        store = await open_redis(config.model_copy(update={"url": proxy.url}))
        for n in range(5):
            await create(store, f"t{n}")
        await claim(store, slots=0)
        proxy.cut_next_reply()
        leases = await claim(store, slots=3)
        assert proxy.cut == 1
        assert ids(leases) == ["t0", "t1", "t2"]
        assert [(await the_task(store, id)).token for id in ids(leases)] == [1, 1, 1]
        assert ids(await claim(store, slots=3)) == ["t3", "t4"]
        await store.aclose()


async def test_functions_that_the_server_forgot_are_loaded_again(config: RedisConfig) -> None:
    """As after FUNCTION FLUSH, or a restart without a log; from the loop of the store, and from others at one time."""
    store = await open_redis(config)
    await store._calls.command("FUNCTION", "FLUSH")
    await asyncio.gather(*(create(store, f"t{n}") for n in range(3)), store.get("kind", "id"), claim(store, slots=0))
    await store._calls.command("FUNCTION", "FLUSH")
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, store.renew("w1", [], 1.0)) for _ in range(3)))
    assert ids(await claim(store)) == ["t0", "t1", "t2"]
    await store.aclose()


async def test_leases_are_renewed_from_another_event_loop_while_that_of_the_store_is_blocked(
    config: RedisConfig,
) -> None:
    """As the heart of a worker does."""
    store = await open_redis(config)
    task = await created_and_claimed(store, lease_s=0.2)

    def renew() -> list[bool]:
        return [status.kept for status in asyncio.run(store.renew("w1", [("t1", task.token)], 60.0))]

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(renew).result(20) == [True]  # blocks this loop
    await asyncio.sleep(0.3)
    assert await claim(store, "w2") == []
    await store.aclose()


@pytest.mark.parametrize("delay_s", [0.05])
async def test_a_server_that_is_slow_only_costs_time(server: RedisServer, config: RedisConfig, delay_s: float) -> None:
    async with Proxy(server.port) as proxy:
        store = await open_redis(config.model_copy(update={"url": proxy.url}))
        proxy.delay_s = delay_s
        await asyncio.gather(*(create(store, f"t{n}") for n in range(30)))
        proxy.delay_s = 0.0
        assert len(await claim(store, slots=50)) == 30
        await store.aclose()


async def test_a_cancellation_that_redis_py_swallows_is_heard(config: RedisConfig) -> None:
    """Named guard: `wait_for` swallows one that comes together with the answer, and a worker would never stop."""
    store = await open_redis(config)
    begun = asyncio.Event()

    async def ask() -> str:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "the answer"

    asking = asyncio.create_task(store._calls._retrying(ask))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await store.aclose()
