"""Us, durable: each run is a task, and every model answer and tool result is committed before the loop goes on."""

from __future__ import annotations

import asyncio
import sqlite3

from _common import Script, Settings, expect, measure_loops, report
from _us import agent

from opspawn import App
from opspawn.cli.process import settle_in
from opspawn.host import Host

#: Said, though it is the default: the figure must not depend on it.
FULL = {"sqlite": {"synchronous": "full"}}


async def main() -> None:
    settings = Settings()
    script = Script(settings.steps)
    app = App(agents=[agent(script)])
    async with Host.open(app, data=settings.folder, sections=FULL) as host:
        settle_in()  # as `opspawn serve` does

        async def run() -> object:
            ended = await host.dispatch("agent/bench", "go", wait_s=60)
            expect(ended.state == "succeeded", f"task {ended.id} is {ended.state}: {ended.error}")
            last.append(ended.id)
            return ended.result

        last: list[str] = []
        summary, figures = await measure_loops(settings, script, run)
        for id in last[-settings.at_once :]:
            done = sum(event.type == "step.done" for event in await host.journal(id))
            expect(done >= 2 * settings.steps + 1, f"the journal of {id} holds {done} results")
    facts = {"SQLite": sqlite3.sqlite_version}
    report(summary, figures, ("opspawn-core", "opspawn-planner-react", "pydantic"), facts)


asyncio.run(main())
