"""Celery on Redis with one worker process of the solo pool, its fastest for tasks that do nothing; results kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from _queues import Bench, measure, report
from celery import Celery

bench = Bench()
app = Celery("bench", broker=bench.url, backend=bench.url)
app.conf.update(
    result_expires=600, worker_prefetch_multiplier=100, task_acks_late=True, broker_connection_retry_on_startup=True
)


@app.task(name="noop")
def noop(n: int) -> float:
    return time.time()


def serve() -> None:
    app.worker_main(["worker", "--pool=solo", "--loglevel=ERROR", "--without-gossip", "--without-mingle"])


async def main() -> None:
    async def ask(n: int) -> Any:
        return noop.delay(n)

    async def wait(handles: list[Any]) -> None:
        for handle in handles:
            handle.get(timeout=60)  # its client blocks, and nothing else runs here

    async def pick() -> float:
        began = time.time()
        handle = await ask(0)
        return float(handle.get(timeout=20)) - began

    with bench.fleet():
        figures = await measure(bench, ask, wait, pick)
    report(figures, ("celery", "kombu", "redis"))


if bench.serving:
    serve()
else:
    with bench.server():
        asyncio.run(main())
    app.close()
