"""Us: a call in a run, past a policy, of an approved tool; in memory, or with `journal` in the embedded store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from _common import Settings, report
from _mcp import COMMAND, in_turns

from opspawn import App, Policy, Rule
from opspawn.agentkit.context import Context
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.contracts.run import RunContext
from opspawn.contracts.tool import Tool
from opspawn.host import Host
from opspawn_mcp import McpConfig
from opspawn_mcp.approvals import awaiting, pin
from opspawn_mcp.fleet import Fleet

SETTINGS = Settings()
NAMES = ("stdio", "http")
POLICY = Policies(
    [Policy([Rule("deny", tool="*__delete_*"), Rule("allow", tool="*", arguments={"number": {"min": 0}})])]
)


@asynccontextmanager
async def fleet(url: str) -> AsyncIterator[Fleet]:
    """The same server over stdio and HTTP, its tool approved."""
    servers = {
        "stdio": {"command": COMMAND[0], "args": [*COMMAND[1:], "stdio"]},
        "http": {"url": url, "allow_private": True},
    }
    opened = Fleet(McpConfig.model_validate({"servers": servers, "root": SETTINGS.folder}))
    try:
        await opened.connect(NAMES)
        for name in NAMES:
            pin(opened.member(name), awaiting(opened.member(name)), "bench")
        yield opened
    finally:
        await opened.aclose()


async def both(opened: Fleet, ctx: RunContext) -> None:
    """The calls of one run."""
    await in_turns({name: partial(calling, ctx, opened.member(name).tool("next_of")) for name in NAMES})


async def calling(ctx: RunContext, tool: Tool, number: int) -> object:
    """One call."""
    return await ctx.call(tool, {"number": number})


async def main() -> None:
    async with fleet(SETTINGS.get("url")) as opened:
        if not SETTINGS.get("journal"):
            await both(opened, Context(MemoryLog(policies=POLICY), name="bench"))
        else:
            await journaled(opened)
    report("", {}, ("opspawn-mcp", "mcp"))


async def journaled(opened: Fleet) -> None:
    """The same in a durable run: intent and result of each call are committed, as its effect "once" wants."""

    async def work(ctx: RunContext) -> None:
        await both(opened, ctx)

    async with Host.open(App(functions={"work": work}), data=Path(SETTINGS.folder)) as host:
        task = await host.submit("function/work")
        await host.wait(task.id, 3600)


asyncio.run(main())
