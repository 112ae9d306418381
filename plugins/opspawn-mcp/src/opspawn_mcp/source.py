"""`tools = ["mcp"]` and `tools = ["mcp:SERVER/TOOL"]`: what agents get of the fleet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opspawn.agentkit.matching import glob
from opspawn.contracts.tool import Reading, Tool, ToolContext, ToolSource
from opspawn.errors import ConfigError
from opspawn_mcp.faults import ServerFault
from opspawn_mcp.fleet import Fleet, Member
from opspawn_mcp.proxy import Proxy
from opspawn_mcp.reading import readings, shelves
from opspawn_mcp.settings import McpConfig
from opspawn_mcp.standing import granted

#: What stands after "#" in a selection.
_PARTS = ("resources", "prompts", "context")


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

    def readings(self, context: ToolContext) -> Sequence[Reading]:
        """What the agent is shown of its servers with each run, as `context` says."""
        return _readings(self.fleet.members.values(), context.agent)

    def select(self, part: str) -> ToolSource:
        """Tools of their own: "SERVER/TOOL", both globs; or "SERVER#resources", "SERVER#prompts", "SERVER#context".

        Raises: ConfigError: no server is called so, or none of it is allowed.
        """
        mark = "#" if "#" in part else "/"
        server, _, wanted = part.partition(mark)
        if not (mark in part and server and wanted) or (mark == "#" and wanted not in _PARTS):
            raise ConfigError(
                f"'mcp:{part}' names no tools.",
                remedy=f'Write "mcp:SERVER/TOOL", e.g. "mcp:github/*", or "mcp:SERVER#" with {", ".join(_PARTS)}.',
            )
        members = [one for name, one in self.fleet.members.items() if glob(server, name)]
        if not members:
            known = ", ".join(self.fleet.members) or "none"
            raise ConfigError(
                f"'mcp:{part}' names no MCP server that is configured; there are: {known}.",
                remedy=f"Add [plugins.mcp.servers.{server}].",
            )
        if mark == "/":
            return Selection(f"mcp:{part}", members, wanted)
        if not any(getattr(one.config, wanted) for one in members):
            raise ConfigError(
                f"'mcp:{part}' gives nothing: nothing of that sort is granted.",
                remedy=f"Set {wanted} of [plugins.mcp.servers.{members[0].name}].",
            )
        return Shelves(f"mcp:{part}", members, wanted)

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
            if not _is_for(member, context.agent):
                continue
            await _know(member)
            for name in member.names():
                if glob(self._tool, name) and member.standing(name).usable:
                    found.append(member.tool(name))
        return found

    def readings(self, context: ToolContext) -> Sequence[Reading]:
        """What the agent is shown of these servers with each run."""
        return _readings(self._members, context.agent)


class Shelves:
    """The resources or prompts of some servers, as tools to list and read them; or no more than their context."""

    def __init__(self, name: str, members: Sequence[Member], part: str) -> None:
        self.name = name
        self._members = members
        self._part = part

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        """The tools, of servers that are granted to the agent."""
        members = [one for one in self._members if _is_for(one, context.agent)]
        return [tool for member in members for tool in shelves(member) if tool.act.startswith(self._part)]

    def readings(self, context: ToolContext) -> Sequence[Reading]:
        """What the agent is shown of these servers with each run."""
        return _readings(self._members, context.agent)


def _readings(members: Iterable[Member], agent: str) -> list[Reading]:
    return [one for member in members if _is_for(member, agent) for one in readings(member, agent)]


def _is_for(member: Member, agent: str) -> bool:
    return member.server.state != "off" and granted(member.config, agent)


async def _know(member: Member) -> None:
    """Have the server connected or connecting; wait for it where only it can say what it has."""
    try:
        coming = member.server.warm() if not member.known else None
        if coming is not None and member.config.pin == "off":
            await member.server.ready()
    except ServerFault:
        return  # it is logged by its owner
