"""SAQ on Redis, 100 jobs at once, results kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from _queues import Bench, measure, report
from saq import Queue, Worker

bench = Bench()


async def noop(ctx: Any, *, n: int) -> float:
    return time.time()


async def serve() -> None:
    await Worker(Queue.from_url(bench.url), functions=[noop], concurrency=100).start()


async def main() -> None:
    queue = Queue.from_url(bench.url)
    await queue.connect()
    with bench.fleet():

        async def ask(n: int) -> Any:
            return await queue.enqueue("noop", n=n, ttl=600)

        async def wait(jobs: list[Any]) -> None:
            for job in jobs:
                while True:
                    await job.refresh()
                    if job.status in ("complete", "failed", "aborted"):
                        break
                    await asyncio.sleep(0.01)

        async def pick() -> float:
            began = time.time()
            job = await ask(0)
            await wait([job])
            return float(job.result) - began

        figures = await measure(bench, ask, wait, pick)
    report(figures, ("saq", "redis"))


if bench.serving:
    asyncio.run(serve())
else:
    with bench.server():
        asyncio.run(main())
