"""A server of both eras whose tool asks people: over stdio."""

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    ListToolsResult,
    TextContent,
    Tool,
)

WORDS = "Who are you?"
FORM = {
    "type": "object",
    "properties": {"name": {"type": "string", "title": "Name"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}


async def list_tools(ctx, params):
    return ListToolsResult(tools=[Tool(name="greet", description="Greets.", input_schema={"type": "object"})])


async def call_tool(ctx, params):
    if ctx.protocol_version >= "2026":
        if not params.input_responses:
            form = ElicitRequest(params=ElicitRequestFormParams(message=WORDS, requested_schema=FORM))
            return InputRequiredResult(input_requests={"who": form}, request_state="1")
        said = params.input_responses["who"]
    else:
        said = await ctx.session.elicit_form(WORDS, FORM, ctx.request_id)
    text = f"{said.action} {said.content}"
    return CallToolResult(content=[TextContent(type="text", text=text)])


async def main():
    server = Server("asks", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


anyio.run(main)
