"""Us, in memory: `Agent.run` without a server or a store."""

from __future__ import annotations

import asyncio

from _common import Script, Settings, measure_loops, report
from _us import agent


async def main() -> None:
    settings = Settings()
    script = Script(settings.steps)
    bench = agent(script)

    async def run() -> object:
        return (await bench.run("go")).output

    summary, figures = await measure_loops(settings, script, run)
    report(summary, figures, ("opspawn-core", "opspawn-planner-react", "pydantic"))


asyncio.run(main())
