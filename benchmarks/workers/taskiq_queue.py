"""taskiq with its stream broker, which acknowledges, and results kept."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from _queues import Bench, measure, report
from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

bench = Bench()
broker = RedisStreamBroker(url=bench.url).with_result_backend(
    RedisAsyncResultBackend(redis_url=bench.url, result_ex_time=600)
)


@broker.task(task_name="noop")
async def noop(n: int) -> float:
    return time.time()


async def serve() -> None:
    broker.is_worker_process = True
    await broker.startup()
    await run_receiver_task(broker, max_async_tasks=100)


async def main() -> None:
    await broker.startup()
    with bench.fleet():

        async def ask(n: int) -> Any:
            return await noop.kiq(n)

        async def wait(handles: list[Any]) -> None:
            for handle in handles:
                await handle.wait_result(check_interval=0.01, timeout=60)

        async def pick() -> float:
            began = time.time()
            handle = await ask(0)
            return float((await handle.wait_result(check_interval=0.01, timeout=20)).return_value) - began

        figures = await measure(bench, ask, wait, pick)
    report(figures, ("taskiq", "taskiq-redis", "redis"))


if bench.serving:
    asyncio.run(serve())
else:
    with bench.server():
        asyncio.run(main())
    sys.exit()
