"""Which tool runs where: its own sandbox before that of its agent."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.agentkit.function_tool import FunctionTool
from opspawn.agentkit.kit import Kit
from opspawn.contracts.sandbox import Sandbox
from opspawn.contracts.tool import GivesReadings, Reading, Tool, ToolContext, ToolSource


def place(tool: Tool, default: Sandbox | None, kit: Kit | None) -> Tool:
    """The tool in its sandbox, or in `default`; a tool that was not made from a function runs where its author says.

    `kit` may be None where there is no sandbox at all. Raises: ConfigError: there is no such sandbox, or it cannot run
    the function.
    """
    if not isinstance(tool, FunctionTool):
        return tool
    wanted = tool.sandbox or default
    if wanted is None or kit is None:
        return tool
    return tool.placed(wanted, kit.sandbox(wanted.name))


class Placing:
    """A source of tools, each in its sandbox."""

    def __init__(self, source: ToolSource, default: Sandbox | None, kit: Kit | None) -> None:
        self._source = source
        self._default = default
        self._kit = kit
        self._placed: dict[int, tuple[Tool, Tool]] = {}

    @property
    def name(self) -> str:
        return self._source.name

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return [self._place(tool) for tool in await self._source.tools(context)]

    def readings(self, context: ToolContext) -> Sequence[Reading]:
        return self._source.readings(context) if isinstance(self._source, GivesReadings) else ()

    def _place(self, tool: Tool) -> Tool:
        """Tools that stay are placed once."""
        known = self._placed.get(id(tool))
        if known is None or known[0] is not tool:
            if len(self._placed) > 1000:
                self._placed.clear()
            known = self._placed[id(tool)] = tool, place(tool, self._default, self._kit)
        return known[1]
