"""dramatiq on Redis with async actors, results kept; it looks for work as often as it may."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import dramatiq
from _queues import Bench, measure, report
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, CurrentMessage
from dramatiq.results import ResultMissing, Results
from dramatiq.results.backends.redis import RedisBackend

bench = Bench()
broker = RedisBroker(url=bench.url, middleware=[AsyncIO(), CurrentMessage()])
broker.add_middleware(Results(backend=RedisBackend(url=bench.url), store_results=True, result_ttl=600_000))
dramatiq.set_broker(broker)


@dramatiq.actor
async def noop(n: int) -> float:
    return time.time()


def serve() -> None:
    worker = dramatiq.Worker(broker, worker_threads=8, worker_timeout=10)
    worker.start()
    while True:
        time.sleep(3600)


async def main() -> None:
    backend = RedisBackend(url=bench.url)

    async def ask(n: int) -> Any:
        return noop.send(n)  # its client blocks, and nothing else runs here

    async def wait(handles: list[Any]) -> None:
        for handle in handles:
            while True:
                try:
                    handle.get_result(backend=backend)
                    break
                except ResultMissing:
                    await asyncio.sleep(0.01)

    async def pick() -> float:
        began = time.time()
        handle = await ask(0)
        await wait([handle])
        return float(handle.get_result(backend=backend)) - began

    with bench.fleet():
        figures = await measure(bench, ask, wait, pick)
    report(figures, ("dramatiq", "redis"))


if bench.serving:
    serve()
else:
    with bench.server():
        asyncio.run(main())
    sys.exit()
