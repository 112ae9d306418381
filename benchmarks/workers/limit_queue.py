"""The least that hands a task over: a list that one process pushes to and another pops from, and one for the answer."""

from __future__ import annotations

import asyncio
import time

from _queues import Bench, measure, report
from redis.asyncio import Redis

bench = Bench()


async def serve() -> None:
    async with Redis.from_url(bench.url) as redis:
        while True:
            _, number = await redis.brpop(["asked"])
            await redis.lpush(f"answer:{number.decode()}", time.time())


async def main() -> None:
    async with Redis.from_url(bench.url) as redis:
        with bench.fleet():

            async def ask(n: int) -> int:
                await redis.lpush("asked", n)
                return n

            async def wait(numbers: list[int]) -> None:
                for number in numbers:
                    await redis.brpop([f"answer:{number}"])

            async def pick() -> float:
                began = time.time()
                _, at = await redis.brpop([f"answer:{await ask(0)}"])
                return float(at) - began

            figures = await measure(bench, ask, wait, pick)
    report(figures, ("redis",))


if bench.serving:
    asyncio.run(serve())
else:
    with bench.server():
        asyncio.run(main())
