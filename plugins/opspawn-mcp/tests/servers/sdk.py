"""A server made with the SDK, of both eras: `sdk.py stdio`, or `sdk.py http PORT`."""

import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.types import ToolAnnotations

server = MCPServer("sdk", instructions="Ask me for sums.")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def grow(name: str, ctx: Context) -> str:
    """Has one tool more from now on."""
    server.add_tool(lambda: "new", name=name, description="Is new.")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def count(to: int, ctx: Context) -> int:
    """Counts, and tells how far it is."""
    for number in range(to):
        await ctx.report_progress(number + 1, to)
    return to


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
