"""How far a call is: what a server says is seen in the run, and what a tool says is seen by MCP clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from opspawn import App, tool
from opspawn.config import load_settings
from opspawn.contracts.run_events import Progress
from opspawn.contracts.tool import ToolContext
from opspawn.host import Host

from ._served import MODES, client_of, text_of
from ._shelf import over_http, table


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with over_http() as found:
        yield found


@pytest.mark.parametrize("mode", ["legacy", "modern"])
async def test_the_progress_of_a_server_is_seen_in_the_run_that_waits(tmp_path: Path, url: str, mode: str) -> None:
    overrides = {f"plugins.mcp.servers.shelf.{key}": value for key, value in table(url, mode).items()}
    loaded = load_settings(cwd=tmp_path, overrides={**overrides, "worker.poll_s": 0.05})
    call = {"tool": "shelf__count", "source": "mcp:shelf/*", "arguments": {"to": 3, "pause": 0.15}}
    async with Host.open(App(), loaded=loaded) as host:
        task = await host.submit("tool/call", call)
        heard = [event async for event in host.stream(task.id) if isinstance(event, Progress)]
        kept = [event.type for event in await host.journal(task.id)]

    assert {one.tool for one in heard} == {"shelf__count"}
    assert (heard[-1].done, heard[-1].total, heard[-1].note) == (3, 3, "step 3")
    assert "task.progress" not in kept


@pytest.mark.parametrize("mode", MODES)
async def test_the_progress_of_a_tool_is_passed_on_to_mcp_clients(tmp_path: Path, mode: str) -> None:
    told: list[str | None] = []
    heard = asyncio.Event()

    @tool(effect="read")
    async def climb(context: ToolContext) -> str:
        """Climb."""
        while not heard.is_set():
            context.progress("climbing", done=1, total=4)
            await asyncio.sleep(0.02)
        return "up"

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)
        if message and "climbing" in message:
            heard.set()

    overrides = {"transports": ["mcp"], "plugins.mcp.serve.port": 0, "plugins.mcp.serve.tools": ["climb"]}
    loaded = load_settings(cwd=tmp_path, overrides={**overrides, "worker.poll_s": 0.05})
    async with (
        Host.open(App(tools=[climb]), loaded=loaded, transports=True) as host,
        client_of(host, mode) as client,
    ):
        result = await client.call_tool("climb", {}, progress_callback=hear)

    assert text_of(result) == "up"
    assert "climb climbing 1/4" in told
