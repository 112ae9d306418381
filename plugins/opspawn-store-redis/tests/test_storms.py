"""Workers on one server while the ways to it break: whatever is lost, late or cut off, no promise is broken.

F7 to F9 of the faults that chaos knows, and all of them at random (F22): two workers behind proxies of their own, a
third one beside, small numbers. The judge is the checker of all stores, and what the effects wrote down.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.waker import Waker
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions
from opspawn.testing import assert_invariants
from opspawn.wakers.local import LocalWaker
from opspawn_store_redis import RedisConfig
from opspawn_store_redis.proxy import Proxy
from opspawn_store_redis.store import open_redis
from opspawn_store_redis.testing import RedisServer
from opspawn_store_redis.waker import RedisWaker

LEASE_S = 1.0
TASKS, STEPS = 40, 4
OPTIONS = WorkerOptions(slots=8, lease_s=LEASE_S, poll_s=0.1, drain_s=1.0)

Effects = Counter[tuple[str, int]]
Fault = Callable[[list[Proxy], random.Random], Awaitable[None]]


def an_app(effects: Effects) -> App:
    async def chain(ctx: Any) -> list[int]:
        async def act(n: int) -> int:
            effects[ctx.task, n] += 1
            await asyncio.sleep(0.01)
            return n

        return [await ctx.step("act", act, n) for n in range(STEPS)]

    return App(functions={"chain": chain})


@asynccontextmanager
async def fleet(
    server: RedisServer, config: RedisConfig, effects: Effects, folder: Path
) -> AsyncIterator[tuple[Host, list[Proxy]]]:
    """A host that only accepts, and three workers, two of them behind proxies."""
    loaded = load_settings(environ={}, cwd=folder, overrides={"data": str(folder)})
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(server.port)) for _ in range(2)]
        # A server that does not answer is given up within a lease, so that a worker fences itself in time.
        urls = [*(proxy.url for proxy in proxies), server.url]
        hosts = []
        for worker, url in [(False, server.url), *((True, url) for url in urls)]:
            own = config.model_copy(update={"url": url, "timeout_s": 0.4, "retry_s": 0.4})
            waker: Waker = RedisWaker(config) if worker else LocalWaker()
            opening = Host.open(
                an_app(effects), loaded=loaded, worker=worker, runs=True, options=OPTIONS,
                store=await open_redis(own), waker=waker,
            )  # fmt: skip
            hosts.append(await stack.enter_async_context(opening))
        yield hosts[0], proxies


async def cut_replies(proxies: list[Proxy], chance: random.Random) -> None:
    """F7: the connection is cut after the commit and before its reply."""
    while True:
        chance.choice(proxies).cut_next_reply()
        await asyncio.sleep(0.02)


async def delay_replies(proxies: list[Proxy], chance: random.Random) -> None:
    """F8: replies take 50 to 300 ms, and now and then a connection is reset."""
    while True:
        for proxy in proxies:
            proxy.delay_s = chance.uniform(0.05, 0.3)
            if chance.random() < 0.1:
                proxy.cut_next_reply()
        await asyncio.sleep(0.1)


async def part(proxies: list[Proxy], chance: random.Random) -> None:
    """F9: one worker hears nothing of the server for two leases; its connections stay open."""
    while True:
        await asyncio.sleep(0.1)
        proxy = chance.choice(proxies)
        proxy.silent = True
        await asyncio.sleep(2 * LEASE_S)
        proxy.silent = False


async def anything(proxies: list[Proxy], chance: random.Random) -> None:
    """F22: each of them for a moment, in turn."""
    while True:
        for fault in (cut_replies, delay_replies, part):
            try:
                async with asyncio.timeout(0.7):
                    await fault(proxies, chance)
            except TimeoutError:
                for proxy in proxies:
                    proxy.delay_s, proxy.silent = 0.0, False


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", [cut_replies, delay_replies, part, anything])
async def test_no_promise_is_broken_while_the_ways_to_the_server_break(
    fault: Fault, server: RedisServer, config: RedisConfig, tmp_path: Path
) -> None:
    effects: Effects = Counter()
    async with fleet(server, config, effects, tmp_path) as (front, proxies):
        storm = asyncio.create_task(fault(proxies, random.Random(7)))
        tasks = []
        for n in range(TASKS):
            tasks.append(await front.submit("function/chain", n))
            await asyncio.sleep(0.03)
        storm.cancel()
        for proxy in proxies:
            proxy.delay_s, proxy.silent = 0.0, False
        ended = [await front.wait(task.id, 60.0) for task in tasks]
        await assert_invariants(front.store)
    assert [task.state for task in ended] == ["succeeded"] * TASKS
    assert [task.result for task in ended] == [list(range(STEPS))] * TASKS
    assert effects.keys() == {(task.id, n) for task in tasks for n in range(STEPS)}
