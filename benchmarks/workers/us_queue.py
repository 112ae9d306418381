"""Us: store "redis" and waker "arq"; the task's acceptance, claim, end and result are each journaled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from _queues import LANES, Bench, measure, report

from opspawn import App
from opspawn.cli.process import settle_in
from opspawn.config import load_settings
from opspawn.host import Host

bench = Bench()


async def noop(ctx: Any) -> float:
    return time.time()


def settings() -> Any:
    overrides = {
        "store": "redis", "waker": "arq", "data": str(bench.folder), "plugins.redis.url": bench.url,
        "plugins.arq.url": bench.url, "logs.level": "error",
    }  # fmt: skip
    return load_settings(environ={}, cwd=bench.folder, overrides=overrides)


async def serve() -> None:
    async with Host.open(App(functions={"noop": noop}), loaded=settings()) as host:
        settle_in()  # as `opspawn worker` does, and `opspawn serve --no-worker`
        await host.working()


async def main() -> None:
    app = App(functions={"noop": noop})
    async with Host.open(app, loaded=settings(), worker=False, runs=True) as host:
        settle_in()
        with bench.fleet():

            async def ask(n: int) -> str:
                return (await host.submit("function/noop", n)).id

            async def wait(ids: list[str]) -> None:
                left = iter(ids)

                async def caller() -> None:
                    for id in left:
                        task = await host.wait(id, 60.0)
                        assert task.state == "succeeded", task

                await asyncio.gather(*(caller() for _ in range(LANES)))  # who waits is told, and does not poll

            async def pick() -> float:
                began = time.time()
                task = await host.wait(await ask(0), 20.0)
                return float(task.result) - began

            async def run_at(ids: list[str]) -> list[float]:
                state = "pending"
                while state != "succeeded":
                    await asyncio.sleep(0.25)  # seldom: the workers are to be alone
                    state = (await host.task(ids[-1])).state
                await wait(ids)
                return [float((await host.task(id)).result) for id in ids]

            figures = await measure(bench, ask, wait, pick, run_at)
    report(figures, ("opspawn-core", "opspawn-store-redis", "redis"))


if bench.serving:
    asyncio.run(serve())
else:
    with bench.server():
        asyncio.run(main())
