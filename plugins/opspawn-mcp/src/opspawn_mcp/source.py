"""`tools = ["mcp"]` and `tools = ["mcp:SERVER/TOOL"]`: what agents get of the fleet."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.agentkit.matching import glob
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.errors import ConfigError
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet, Member
from opspawn_mcp.proxy import Proxy
from opspawn_mcp.settings import McpConfig
from opspawn_mcp.standing import granted


class McpSource:
    """The fleet as a source of tools; as it is, it gives the one tool `mcp`, by which all others are reached."""

    name = "mcp"

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @classmethod
    def of(cls, config: McpConfig) -> McpSource:
        """The fleet of a configuration. Raises: ConfigError."""
        return cls(Fleet(config))

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """The tool `mcp`, if any server is granted to the agent."""
        proxy = Proxy(self.fleet, context.agent)
        return [proxy] if proxy.members else []

    def select(self, part: str) -> Selection:
        """Tools of their own: "SERVER/TOOL", both globs. Raises: ConfigError: no server is called so."""
        server, mark, tool = part.partition("/")
        if not (mark and server and tool):
            raise ConfigError(f"'mcp:{part}' names no tools.", remedy='Write "mcp:SERVER/TOOL", e.g. "mcp:github/*".')
        members = [one for name, one in self.fleet.members.items() if glob(server, name)]
        if not members:
            known = ", ".join(self.fleet.members) or "none"
            raise ConfigError(
                f"'mcp:{part}' names no MCP server that is configured; there are: {known}.",
                remedy=f"Add [plugins.mcp.servers.{server}].",
            )
        return Selection(f"mcp:{part}", members, tool)

    async def aclose(self) -> None:
        """End all connections."""
        await self.fleet.aclose()


class Selection:
    """Some tools of some servers, as tools of their own."""

    def __init__(self, name: str, members: Sequence[Member], tool: str) -> None:
        self.name = name
        self._members = members
        self._tool = tool

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """The tools that the agent may use now.

        Approved ones are offered as they were approved, before their server is connected, so that none is waited for;
        those of a server without pins are what it says, so it is waited for, and gives none while it fails.
        """
        found: list[Tool] = []
        for member in self._members:
            if member.server.state == "off" or not granted(member.config, context.agent):
                continue
            await _know(member)
            for name in member.names():
                if glob(self._tool, name) and member.standing(name).usable:
                    found.append(member.tool(name))
        return found


async def _know(member: Member) -> None:
    """Have the server connected or connecting; wait for it where only it can say what it has."""
    try:
        coming = member.server.warm() if not member.known else None
        if coming is not None and member.config.pin == "off":
            await member.server.ready()
    except ServerFault:
        return  # it is logged by its owner
