"""Us: a Python function whose steps are journaled in the embedded store, submitted and awaited as a client would."""

from __future__ import annotations

import asyncio
import sqlite3

from _common import Settings, expect, measure_steps, report

from opspawn import App
from opspawn.cli.process import settle_in
from opspawn.contracts.run import RunContext
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions

#: Said, though it is the default: the figure must not depend on it.
FULL = {"sqlite": {"synchronous": "full"}}


async def work(number: int) -> dict[str, int]:
    return {"number": number}


async def chain(ctx: RunContext) -> int:
    steps: int = ctx.input["steps"]
    for number in range(steps):
        await ctx.step("work", work, number)
    return steps


async def main() -> None:
    settings = Settings()
    app = App(functions={"chain": chain})
    slots = max(settings.at_once, WorkerOptions().slots)  # or 200 at once would be 64 at once and 136 that wait
    async with Host.open(app, data=settings.folder, sections=FULL, options=WorkerOptions(slots=slots)) as host:
        settle_in()  # as `opspawn serve` does
        tasks: list[str] = []

        async def run(name: str) -> None:
            ended = await host.dispatch("function/chain", {"name": name, "steps": settings.steps}, wait_s=60)
            expect(ended.state == "succeeded", f"task {ended.id} is {ended.state}: {ended.error}")
            expect(ended.result == settings.steps, f"{name} made {ended.result} steps")
            tasks.append(ended.id)

        summary, figures = await measure_steps(settings, run)
        for id in tasks:
            done = sum(event.type == "step.done" for event in await host.journal(id))
            expect(done == settings.steps, f"the journal of {id} holds {done} results")
    report(summary, figures, ("opspawn-core",), {"SQLite": sqlite3.sqlite_version})


asyncio.run(main())
