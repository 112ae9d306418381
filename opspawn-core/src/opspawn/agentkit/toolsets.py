"""`Toolset`: tools under one name, to be shared, renamed, and chosen per run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from typing_extensions import TypeIs

from opspawn.agentkit.calling import USUAL
from opspawn.agentkit.function_tool import FunctionTool, as_tool, check_tool_name
from opspawn.contracts.tool import Effect, Tool, ToolContext, ToolSource
from opspawn.errors import ConfigError

#: Whether a run gets a tool, by its own name; asked once per model call. May be async.
Filter = Callable[[Tool, ToolContext], bool | Awaitable[bool]]


class Toolset:
    """Tools, other toolsets and tool sources under one name: `Toolset("crm", [find, note], prefix="crm_")`.

    Immutable; a `ToolSource` itself. A toolset without `filter` and sources is settled once and for all, any other one
    is asked with each model call.

    Args:
        name: for messages.
        tools: functions, tools, toolsets and tool sources.
        prefix: put before each name.
        rename: new names by old ones, before the prefix.
        filter: called with each tool, as it was before renaming, and the run's context (its `deps`, above all); only
            tools for which it says True are offered. What a model calls without being offered is unknown to it.

    Raises:
        ConfigError: something is not a tool, or a name does not fit, or `rename` names what is not there.
    """

    def __init__(
        self,
        name: str,
        tools: Sequence[Tool | Callable[..., Any] | ToolSource] = (),
        *,
        prefix: str = "",
        rename: Mapping[str, str] = MappingProxyType({}),
        filter: Filter | None = None,
    ) -> None:
        if not isinstance(tools, Sequence):
            raise ConfigError(f"The toolset {name!r} has tools={tools!r}; a list is meant.")
        self.name = name
        self._members: list[Tool | ToolSource] = [one if is_source(one) else as_tool(one) for one in tools]
        self._prefix = prefix
        self._rename = dict(rename)
        self._filter = filter
        settled = [one for one in self._members if not is_source(one)]
        names = [tool.name for tool in settled]
        for old in self._rename:
            if len(settled) == len(self._members) and old not in names:
                raise ConfigError(f"The toolset {name!r} renames {old!r}, which is not in it.")
        for tool in settled:
            check_tool_name(self._name_of(tool))

    def __repr__(self) -> str:
        return f"Toolset({self.name!r}, {[one.name for one in self._members]})"

    @property
    def settled(self) -> list[Tool] | None:
        """The tools, if they are the same for every run; else None."""
        if self._filter is not None:
            return None
        found: list[Tool] = []
        for one in self._members:
            if not is_source(one):
                found.append(one)
            elif isinstance(one, Toolset) and (inner := one.settled) is not None:
                found += inner
            else:
                return None
        return [self._renamed(tool) for tool in found]

    async def tools(self, context: ToolContext) -> list[Tool]:
        """The tools for a run, as of now."""
        found: list[Tool] = []
        for one in self._members:
            found += await one.tools(context) if is_source(one) else [one]
        return [self._renamed(tool) for tool in found if await self._passes(tool, context)]

    async def _passes(self, tool: Tool, context: ToolContext) -> bool:
        if self._filter is None:
            return True
        answer = self._filter(tool, context)
        return bool(await answer if inspect.isawaitable(answer) else answer)

    def _name_of(self, tool: Tool) -> str:
        return f"{self._prefix}{self._rename.get(tool.name, tool.name)}"

    def _renamed(self, tool: Tool) -> Tool:
        name = self._name_of(tool)
        if name == tool.name:
            return tool
        return tool.renamed(name) if isinstance(tool, FunctionTool) else Renamed(tool, name)


class Renamed:
    """A tool under another name."""

    def __init__(self, inner: Tool, name: str) -> None:
        check_tool_name(name)
        self._inner = inner
        self.name = name
        self.description: str = inner.description
        self.parameters: dict[str, Any] = inner.parameters
        self.effect: Effect = inner.effect
        self.timeout_s: float | None = inner.timeout_s
        self.options = getattr(inner, "options", USUAL)
        self.slots = getattr(inner, "slots", None)
        self.output = getattr(inner, "output", None)

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        return await self._inner.call(arguments, context)


def is_source(thing: Any) -> TypeIs[ToolSource]:
    """Whether it gives tools, rather than being one."""
    return (
        hasattr(thing, "name")
        and inspect.iscoroutinefunction(getattr(thing, "tools", None))
        and not hasattr(thing, "call")
    )
