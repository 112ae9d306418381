"""The wakers: a ring reaches a waiter of another process, and whatever becomes of rings, work is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from opspawn import App
from opspawn.checkups import examine_waker
from opspawn.config import load_settings
from opspawn.contracts.store import Batch, Put, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import PluginError
from opspawn.host import Host
from opspawn.opening import load_plugins, open_waker, overridden
from opspawn.stores.sqlite import open_sqlite
from opspawn_store_redis import ArqConfig, RedisConfig, plugin
from opspawn_store_redis.faults import ALLOWED
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.waker import RedisWaker

HAS_ARQ = find_spec("arq") is not None
KINDS = ["redis", "arq"] if HAS_ARQ else ["redis"]


@asynccontextmanager
async def a_waker(kind: str, config: RedisConfig) -> AsyncIterator[Any]:
    if kind == "arq":
        waker: Waker = await plugin.open_arq(ArqConfig(url=config.url, namespace=config.namespace))
    else:
        waker = RedisWaker(config)
    try:
        yield waker
    finally:
        await waker.aclose()


async def waited(waker: Waker, *queues: str) -> None:
    """Return when the waker says so, and fail when only the time did."""
    began = time.monotonic()
    await waker.wait(queues or ("default",), 20.0)
    assert time.monotonic() - began < 15.0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ring_wakes_a_waiter_of_another_process(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as here, a_waker(kind, config) as there:
        waiting = asyncio.create_task(waited(there, "other", "default"))
        await asyncio.sleep(0.05)
        here.ring("default")
        await waiting


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ring_that_nobody_waited_for_is_not_lost(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as here, a_waker(kind, config) as there:
        here.ring("default")
        await asyncio.sleep(0.05)
        await waited(there)


@pytest.mark.parametrize("kind", KINDS)
async def test_rings_that_nobody_hears_do_not_pile_up(kind: str, config: RedisConfig) -> None:
    async with a_waker(kind, config) as waker:
        for _ in range(100):
            await waker.send("default")
        assert await waker._client.llen(f"{waker.prefix}default") == 64
        if kind == "arq":
            assert await waker._client.zcard(waker.queue) == 64


@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_wakes_a_waiter_before_anybody_rings(kind: str, config: RedisConfig) -> None:
    """And what nobody waits for leaves one hint for its queue, however much it is."""
    store = await open_redis(config)
    async with a_waker(kind, config) as waker:
        waiting = asyncio.create_task(waited(waker, "other", "default"))
        await asyncio.sleep(0.05)
        await store.commit(Batch([Put(Task(id="t-1", handler="function/f", root="t-1"), 0)]))
        await waiting
        for n in range(2, 9):
            await store.commit(Batch([Put(Task(id=f"t-{n}", handler="function/f", root=f"t-{n}", queue="quiet"), 0)]))
        assert await waker._client.llen(f"{waker.prefix}quiet") == 1
    await store.aclose()


async def test_a_queue_is_rung_at_most_once_within_its_time(config: RedisConfig) -> None:
    async with a_waker("redis", config) as waker:
        for _ in range(1000):
            waker.ring("default")
        await asyncio.sleep(0.3)
        assert await waker._client.llen(f"{waker.prefix}default") <= 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_waker_outlives_a_server_that_is_restarted(kind: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        config = RedisConfig(url=server.url, timeout_s=1.0)
        async with a_waker(kind, config) as here, a_waker(kind, config) as there:
            await there.wait(("default",), 0.01)
            server.kill()
            here.ring("default")
            await there.wait(("default",), 0.3)
            server.start()
            waiting = asyncio.create_task(waited(there))
            while not waiting.done():
                here.ring("default")
                await asyncio.sleep(0.1)
            await waiting


if HAS_ARQ:  # it needs an older redis-py than the newest

    async def test_arqs_worker_is_made_anew_when_it_ends(config: RedisConfig) -> None:
        """As it does at a fault of its connection, or when somebody cancels it."""
        async with a_waker("arq", config) as waker:
            await waker.wait(("default",), 0.3)
            first = waker._worker
            first.main_task.cancel()
            async with asyncio.timeout(20):
                while waker._worker is first:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)


async def test_without_arq_its_waker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)

    with pytest.raises(PluginError, match=r"pip install \"opspawn-store-redis\[arq\]\""):
        await plugin.open_arq({})


def an_app(done: list[int]) -> App:
    async def work(ctx: Any) -> int:
        done.append(ctx.input)
        return int(ctx.input)

    return App(functions={"work": work})


Open = Callable[[RedisConfig, Path], Any]


async def _redis(config: RedisConfig, path: Path) -> Any:
    return await open_redis(config)


async def _sqlite(config: RedisConfig, path: Path) -> Any:
    return await open_sqlite(str(path / "opspawn.db"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("open_store", [_redis, _sqlite])
async def test_a_task_that_one_process_accepts_another_does(
    kind: str, open_store: Open, config: RedisConfig, tmp_path: Path
) -> None:
    """Whatever the store, and also while all hints are deleted again and again."""
    done: list[int] = []
    loaded = load_settings(environ={}, cwd=tmp_path, overrides={"data": str(tmp_path)})
    async with a_waker(kind, config) as wake_server, a_waker(kind, config) as wake_worker, a_waker(kind, config) as k:
        server, worker = await open_store(config, tmp_path), await open_store(config, tmp_path)
        async with (
            Host.open(an_app([]), loaded=loaded, worker=False, runs=True, store=server, waker=wake_server) as front,
            Host.open(an_app(done), loaded=loaded, store=worker, waker=wake_worker),
        ):
            tasks = [await front.submit("function/work", n) for n in range(5)]
            for task in tasks:
                assert (await front.wait(task.id, 20.0)).state == "succeeded"
            for n in range(3):
                task = await front.submit("function/work", 10 + n)
                for key in await k._client.keys("arq:*") + await k._client.keys("*:wake:*"):
                    await k._client.delete(key)
                assert (await front.wait(task.id, 20.0)).state == "succeeded"
    assert sorted(done) == [0, 1, 2, 3, 4, 10, 11, 12]


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_waker_that_cannot_reach_its_server_says_so_once(kind: str, told: list[str]) -> None:
    """With the section to correct, whatever it tries at the same time, and less and less often."""
    nowhere = RedisConfig(url="redis://127.0.0.1:1/0", namespace="nowhere", timeout_s=1.0)
    async with a_waker(kind, nowhere) as waker:
        await waker.wait(("default",), 0.9)
        waker.ring("default")
        await waker.wait(("default",), 0.2)
        (finding,) = await waker.check()
    section = "[plugins.arq]" if kind == "arq" else "[plugins.redis]"

    assert len(told) == 1
    assert f"Start it, or correct url in {section}." in told[0]
    assert finding.level == "error"
    assert section in (finding.remedy or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fault_after_a_good_while_is_told_again(kind: str, config: RedisConfig, told: list[str]) -> None:
    async with a_waker(kind, config) as waker:
        first = waker.telling.failed(ConnectionError("away"), "list")
        longer = waker.telling.failed(ConnectionError("away"), "list")
        waker.telling.worked("list")
        again = waker.telling.failed(ConnectionError("away"), "list")

    assert first == again < longer
    assert len(told) == 2


if HAS_ARQ:

    async def test_a_doorbell_that_expired_alarms_nobody(config: RedisConfig, caplog: pytest.LogCaptureFixture) -> None:
        """Each that was rung while no worker was there for a minute, or whose key somebody deleted."""
        async with a_waker("arq", config) as here:
            await here.send("default")
            jobs = await here._client.keys("arq:job:*")
            await here._client.delete(*jobs)
            await here.wait(("none",), 0.1)
            async with asyncio.timeout(20):
                while await here._client.zcard(here.queue):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

        assert jobs
        assert caplog.records == []

    async def test_a_user_who_may_not_use_arqs_keys_is_told_so(config: RedisConfig, told: list[str]) -> None:
        async with a_waker("redis", config) as one:
            rules = ("~osp:*", "&osp:*", "+@all", "-@dangerous")
            await one._client.execute_command("ACL", "SETUSER", "half", "reset", "on", ">secret", *rules)
        half = ArqConfig(url=config.url, namespace=config.namespace, username="half", password="secret")  # type: ignore[arg-type]
        waker: Any = await plugin.open_arq(half)
        await waker.wait(("default",), 0.5)
        (finding,) = await waker.check()
        await waker.aclose()

        assert len(told) == 1
        assert "~arq:*" in told[0]
        assert "~arq:*" in (finding.remedy or "")


@pytest.mark.parametrize("by", ["waker", "commit"])
async def test_hints_for_a_queue_for_which_nobody_waits_do_not_stay(by: str, config: RedisConfig) -> None:
    """An `opspawn run` has a queue of its own, and may be killed."""
    async with a_waker("redis", config) as waker:
        if by == "waker":
            await waker.send("run-t-1")
        else:
            store = await open_redis(config)
            await store.commit(Batch([Put(Task(id="t-1", handler="function/f", root="t-1", queue="run-t-1"), 0)]))
            await store.aclose()
        left_s = await waker._client.ttl(f"{waker.prefix}run-t-1")

    assert 0 < left_s <= 60


RIGHTS_OF_A_HINT = [("redis", "-blpop"), ("redis", "-lpush"), ("arq", "-zrangebyscore"), ("arq", "-psetex")]


@pytest.mark.parametrize(("kind", "lacking"), [one for one in RIGHTS_OF_A_HINT if one[0] in KINDS])
async def test_an_operator_is_told_that_a_hint_may_not_be_sent_or_heard(
    kind: str, lacking: str, config: RedisConfig, told: list[str]
) -> None:
    """And what was tried leaves nothing."""
    async with a_waker("redis", config) as one:
        rules = (*ALLOWED.split(), lacking)
        await one._client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">secret", *rules)
    async with a_waker(kind, config) as one:
        (well,) = await one.check()
        left = await one._client.keys(f"*{config.namespace}[}}:]*no-queue*")
    few = {"url": config.url, "namespace": config.namespace, "username": "few", "password": "secret"}
    waker: Any = await (plugin.open_arq if kind == "arq" else plugin.open_waker)(few)
    (finding,) = await waker.check()
    await waker.aclose()

    assert well.level == "ok"
    assert finding.level == "error"
    assert lacking.strip("-") in finding.what.lower()
    assert ALLOWED in str(finding.remedy)
    assert left == []


async def test_arqs_waker_goes_where_the_store_is(tmp_path: Path) -> None:
    """As far as its own section says nothing else; credentials go to no other server."""
    store = RedisConfig(url="redis://there:1/2", namespace="shop", password="secret")  # type: ignore[arg-type]

    def beside(**section: Any) -> ArqConfig:
        return plugin.arq_beside(ArqConfig.model_validate(section), store)  # type: ignore[no-any-return]

    assert (beside().url, beside().namespace, beside().password) == (store.url, "shop", store.password)
    assert beside().section == "[plugins.redis]"
    assert beside(health_check_s=7).health_check_s == 7
    assert beside(namespace="other").namespace == "other"
    assert beside(url=store.url).password == store.password
    elsewhere = beside(url="redis://elsewhere:1/0")
    assert (elsewhere.url, elsewhere.namespace, elsewhere.password) == ("redis://elsewhere:1/0", "shop", None)
    assert elsewhere.section == "[plugins.arq]"


@pytest.mark.parametrize("kind", KINDS)
async def test_two_lines_of_configuration_and_where_the_server_is(
    kind: str, config: RedisConfig, tmp_path: Path
) -> None:
    """And the doctor looks at the waker."""
    section = {"url": config.url, "namespace": config.namespace, "durability": "none"}
    lines = load_settings(environ={}, cwd=tmp_path, overrides={"store": "redis", "waker": kind, "data": str(tmp_path)})
    loaded = overridden(lines, None, None, {"redis": section})
    waker: Any = await open_waker(load_plugins(loaded), loaded)
    ((part, finding),) = [part async for part in examine_waker(waker)]
    await waker.aclose()

    assert (waker.config.url, waker.config.namespace) == (config.url, config.namespace)
    assert (part, finding.level) == ("waker", "ok")
    assert repr(config.namespace) in finding.what
