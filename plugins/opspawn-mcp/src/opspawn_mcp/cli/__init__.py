"""`opspawn mcp`: the operator's side of a fleet."""

from __future__ import annotations

import click

from opspawn.cli.lazy import LazyGroup

#: Command to where it lives and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("opspawn_mcp.cli.servers:list_servers", "List the servers, and whether they answer."),
    "tools": ("opspawn_mcp.cli.servers:list_tools", "List the tools of the servers, and how they stand."),
    "inspect": ("opspawn_mcp.cli.servers:inspect", "Show a server, or one tool, in full."),
    "call": ("opspawn_mcp.cli.calling:call", "Call a tool, under the same policy as agents."),
    "resources": ("opspawn_mcp.cli.shelves:list_resources", "List the resources of the servers."),
    "read": ("opspawn_mcp.cli.shelves:read", "Read a resource, and again when it changes."),
    "prompts": ("opspawn_mcp.cli.shelves:list_prompts", "List the prompts of the servers."),
    "prompt": ("opspawn_mcp.cli.shelves:prompt", "Get a prompt, made of its arguments."),
    "approve": ("opspawn_mcp.cli.approving:approve", "Show what is new or has changed, and pin it."),
    "audit": ("opspawn_mcp.cli.auditing:audit", "Show what was called and decided, and check that it is whole."),
    "login": ("opspawn_mcp.cli.signing:login", "Sign in to a remote server, in a browser."),
    "logout": ("opspawn_mcp.cli.signing:logout", "Forget who signed in to a remote server."),
    "import": ("opspawn_mcp.cli.importing:import_servers", "Read servers from the JSON that other programs use."),
    "serve": ("opspawn_mcp.cli.serving:serve", "Offer agents, workflows and tools to an MCP client."),
    "doctor": ("opspawn_mcp.cli.servers:doctor", "Connect to every server, and say what is wrong."),
}


@click.group("mcp", cls=LazyGroup, lazy=COMMANDS)
def group() -> None:
    """List, try, approve and examine the MCP servers of opspawn.toml."""
