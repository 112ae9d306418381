"""The SDK's bare client: what a call costs without a host."""

from __future__ import annotations

import asyncio

from _common import Settings, report
from _mcp import COMMAND, http_server, measure
from mcp import Client
from mcp.client.stdio import StdioServerParameters


async def main() -> None:
    settings = Settings()
    figures = {}
    with http_server() as url:
        stdio = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "stdio"])
        for name, where in (("stdio", stdio), ("http", url)):
            async with Client(where) as client:
                await client.list_tools()

                async def call(number: int, client: Client = client) -> object:
                    return (await client.call_tool("next_of", {"number": number})).structured_content

                figures |= await measure(settings, name, call)
    report(", ".join(f"{value:,.0f} {name}" for name, value in figures.items()), figures, ("mcp",))


asyncio.run(main())
