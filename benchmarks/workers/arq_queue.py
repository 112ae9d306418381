"""arq, tuned: it looks every 10 ms and runs 100 jobs at once; results are kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from _queues import Bench, measure, report
from arq import Worker, create_pool
from arq.connections import RedisSettings
from arq.jobs import Job

bench = Bench()
SETTINGS = RedisSettings(port=bench.port)


async def noop(ctx: Any, n: int) -> float:
    return time.time()


async def main() -> None:
    pool = await create_pool(SETTINGS)
    with bench.fleet():

        async def ask(n: int) -> Job:
            job = await pool.enqueue_job("noop", n)
            assert job is not None
            return job

        async def wait(jobs: list[Job]) -> None:
            for job in jobs:
                await job.result(timeout=60, poll_delay=0.01)

        async def pick() -> float:
            began = time.time()
            job = await ask(0)
            return float(await job.result(timeout=20, poll_delay=0.01)) - began

        figures = await measure(bench, ask, wait, pick)
    report(figures, ("arq", "redis"))


if bench.serving:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    Worker([noop], redis_settings=SETTINGS, poll_delay=0.01, max_jobs=100, keep_result=600, log_results=False).run()
else:
    with bench.server():
        asyncio.run(main())
