"""The SDK's bare client: what a call costs without a host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from _common import Settings, report
from _mcp import COMMAND, in_turns
from mcp import Client
from mcp.client.stdio import StdioServerParameters


def calling(client: Client) -> Callable[[int], Awaitable[object]]:
    """Calls by one client."""

    async def call(number: int) -> object:
        return (await client.call_tool("next_of", {"number": number})).structured_content

    return call


async def main() -> None:
    stdio = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "stdio"])
    async with Client(stdio) as local, Client(Settings().get("url")) as remote:
        clients = {"stdio": local, "http": remote}
        for client in clients.values():
            await client.list_tools()
        await in_turns({way: calling(client) for way, client in clients.items()})
    report("", {}, ("mcp",))


asyncio.run(main())
