"""One call of a tool as a task of its own, for callers from outside: under the policies that count for agents, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from opspawn.agentkit.context import Context
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.toolsets import is_source
from opspawn.contracts.run import RunContext
from opspawn.contracts.tool import Tool, ToolContext, ToolSource
from opspawn.contracts.transport import TOOL_CALL, OfferedTool
from opspawn.errors import ConfigError, InvalidInput, Lacking, NotFound

_MEMBERS = {"tool", "source", "arguments", "agent"}
_SHAPE = 'Give {"tool": NAME, "arguments": {...}}, and "source" for a tool that comes and goes.'


class ToolCalls:
    """The handler "tool/call". Its input is `{"tool", "arguments"}`, with the `source` of a tool that comes and goes,
    and `agent`: in whose name policies decide.
    """

    def __init__(
        self, tools: Mapping[str, Tool], kit: Kit, equip: Callable[[Context], Awaitable[None]] | None = None
    ) -> None:
        """Take the tools that there are by name; `equip` gives a run what it needs beside its input."""
        self._tools = tools
        self._kit = kit
        self._equip = equip

    def accept(self, input: Any) -> dict[str, Any]:
        """The input to record. Raises: NotFound, InvalidInput."""
        if not isinstance(input, Mapping) or not isinstance(input.get("tool"), str):
            raise InvalidInput(f"{TOOL_CALL!r} needs the name of a tool.", remedy=_SHAPE)
        if unknown := sorted(set(input) - _MEMBERS):
            raise InvalidInput(f"{TOOL_CALL!r} has no member {unknown[0]!r}.", remedy=_SHAPE)
        arguments, source, agent = (input.get(key) for key in ("arguments", "source", "agent"))
        if not isinstance({} if arguments is None else arguments, Mapping):
            raise InvalidInput(f"The arguments of {TOOL_CALL!r} must be an object.", remedy=_SHAPE)
        if not isinstance(agent, str | None) or not isinstance(source, str | None):
            raise InvalidInput(f"source and agent of {TOOL_CALL!r} are texts.", remedy=_SHAPE)
        if source is None and input["tool"] not in self._tools:
            raise NotFound("tool", input["tool"], known=list(self._tools))
        if source is not None:
            self._source(source)
        return {"tool": input["tool"], "source": source, "arguments": dict(arguments or {}), "agent": agent or ""}

    async def offered(self, named: Sequence[str], agent: str) -> list[OfferedTool]:
        """What `named` stands for now, for an agent. Raises: NotFound; and what a source raises that has none now."""
        found: dict[str, OfferedTool] = {}
        for name in named:
            if name in self._tools:
                found.setdefault(name, OfferedTool(self._tools[name]))
            elif ":" not in name:
                raise NotFound("tool", name, known=list(self._tools))
            else:
                for tool in await self._source(name).tools(ToolContext("", agent)):
                    found.setdefault(tool.name, OfferedTool(tool, name))
        return list(found.values())

    async def run(self, context: RunContext) -> Any:
        """Call the tool, and return what it returns."""
        asked, base = cast(Mapping[str, Any], context.input), cast(Context, context)
        base.agent = asked["agent"]
        if self._equip is not None:
            await self._equip(base)
        tool = await self._find(asked, base)
        return await base.call(tool, dict(asked["arguments"]), key="call")

    async def _find(self, asked: Mapping[str, Any], context: Context) -> Tool:
        name, source = asked["tool"], asked["source"]
        if source is None:
            if name not in self._tools:  # another version of the app accepted the call
                raise Lacking("tool", name)
            return self._tools[name]
        seen = ToolContext("", context.agent, context.task, context.session, context.deps)
        for tool in await self._source(source).tools(seen):
            if tool.name == name:
                return tool
        raise NotFound("tool", name, remedy=f"{source!r} does not offer it to {context.agent!r} now.")

    def check(self, named: str) -> None:
        """Whether "SOURCE:NAME" can name a tool; whether it is there shows when it is called. Raises: InvalidInput."""
        self._source(named)

    async def one(self, named: str, context: Context) -> Tool:
        """The one tool that "SOURCE:NAME" stands for now, in a run. Raises: NotFound; and what its source raises."""
        seen = ToolContext("", context.agent, context.task, context.session, context.deps)
        found = await self._source(named).tools(seen)
        if len(found) != 1:
            words = f"It stands for {len(found)} tools; name one." if found else None
            remedy = f"Its source does not offer it to {context.agent!r} now." if words is None else words
            raise NotFound("tool", named, remedy=remedy)
        return found[0]

    def _source(self, named: str) -> ToolSource:
        try:
            found = self._kit.tool_or_source(named)
        except ConfigError as error:
            raise InvalidInput(error.message, remedy=error.remedy) from error
        if not is_source(found):
            raise InvalidInput(f"{named!r} is no source of tools.", remedy="Name it as tool, without source.")
        return found
