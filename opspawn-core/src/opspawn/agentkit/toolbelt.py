"""The tools of one run of an agent: which are offered, which are closed, and what was too long to show.

Everything here follows from recorded results alone, so that a resumed run offers and refuses what the first one did.
Branches of a run (`ctx.gather`) end in any order, so each has a patience with tools of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from opspawn.agentkit.calling import options_of
from opspawn.agentkit.reading import NAME, reader_of
from opspawn.contracts.model import ToolSpec
from opspawn.contracts.tool import Effect, Tool, ToolContext, ToolResult, ToolSource
from opspawn.errors import StepFailed, ToolError

#: A turn with one of these tells the model to call the tool differently.
_ASKS_AGAIN = ("retry", "invalid_input")


class Toolbelt:
    """Tools by name. `sources` give more of them with each model call."""

    def __init__(self, tools: Sequence[Tool], sources: Sequence[ToolSource] = ()) -> None:
        self._fixed = {tool.name: tool for tool in tools}
        self._sources = sources
        self._live: dict[str, Tool] = {}
        self._specs = specs_of(tools)
        self._names: frozenset[str] = frozenset()
        self._kept: dict[str, Any] = {}
        self._reader: Tool | None = None
        self._patience: dict[str, _Patience] = {}
        self.has_sequential = bool(sources) or any(options_of(tool).sequential for tool in tools)

    # -- what a model is offered ---------------------------------------------------------------------------------------

    @property
    def dynamic(self) -> bool:
        return bool(self._sources)

    async def ask(self, context: ToolContext) -> None:
        """Ask the sources for their tools of now. Raises: StepFailed: two of one name; and what a source raises."""
        self._live = await self._asked(context)
        self._names = frozenset(self._live)

    async def moving(self, context: ToolContext) -> Sequence[Tool]:
        """What the sources have now; what was offered to a model stays what it is. Raises: as `ask`."""
        return list((await self._asked(context)).values())

    async def again(self, name: str, context: ToolContext) -> Tool:
        """A tool that was offered before this process took over the run: as its source has it now, or a stand-in."""
        if name not in self._live:
            self._live = await self._asked(context)
        return self._live.get(name) or _Gone(name)

    async def _asked(self, context: ToolContext) -> dict[str, Tool]:
        live: dict[str, Tool] = {}
        for source in self._sources:
            for tool in await source.tools(context):
                if tool.name in live or tool.name in self._fixed:
                    raise StepFailed(
                        f"The source {source.name!r} offers the tool {tool.name!r}, and another of that name is there."
                        " Give one a prefix: Toolset(..., prefix=...).",
                        error_type="config",
                    )
                live[tool.name] = tool
        return live

    @property
    def names(self) -> list[str]:
        """The names from sources that were offered last, to be recorded."""
        return sorted(self._names)

    def recorded(self, names: Iterable[str]) -> None:
        """A model call was answered from the journal: these names from sources were offered with it."""
        self._names = frozenset(names)

    def specs(self, branch: str = "") -> tuple[ToolSpec, ...]:
        """What the model is shown in a branch of the run; tools that are closed there are not."""
        specs = self._specs
        if self._live:
            specs += specs_of([tool for tool in self._live.values() if tool.name in self._names])
        if self._reader is not None:
            specs += specs_of([self._reader])
        if closed := self.closed(branch):
            specs = tuple(spec for spec in specs if spec.name not in closed)
        return specs

    # -- what it may call ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Tool | None:
        tool = self._fixed.get(name)
        if tool is None:
            tool = self._live.get(name) if name in self._names else None
            if tool is None and name == NAME:
                return self._reader
        return tool

    def was_offered(self, name: str) -> bool:
        """Whether a source gave a tool of that name for the last model call, be it here now or not."""
        return name in self._names

    def unknown(self, name: str) -> str:
        """Words for a model that asks for a tool which there is not."""
        known = [*self._fixed, *sorted(self._names)]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
        return f"There is no tool {name!r}.{hint} Tools: {', '.join(known) or 'none'}."

    def closed(self, branch: str = "") -> Collection[str]:
        """The tools with which a branch has lost its patience."""
        patience = self._patience.get(branch)
        return patience.closed if patience is not None else ()

    def is_sequential(self, name: str) -> bool:
        tool = self.find(name)
        return tool is not None and options_of(tool).sequential

    # -- what came of it -----------------------------------------------------------------------------------------------

    def note(self, results: list[ToolResult], keys: Sequence[str], branch: str = "") -> list[ToolResult]:
        """Take in the outcomes of one turn, in order; those with which a tool's patience ends are told as final."""
        patience = self._patience.get(branch)
        if patience is None or not patience.chains:  # the usual turn, at the least cost
            for result in results:
                if result.error_type is not None or result.handle is not None:
                    break
            else:
                return results
        for result, key in zip(results, keys, strict=True):
            if result.handle is not None:
                self._kept[key] = result.value
                self._reader = self._reader or reader_of(self._kept)
        patience = patience or self._patience.setdefault(branch, _Patience())
        ended: set[str] = set()
        for name in {result.name for result in results}:
            mine = [result for result in results if result.name == name]
            if not all(result.error_type in _ASKS_AGAIN for result in mine):
                patience.chains.pop(name, None)
                continue
            patience.chains[name] = patience.chains.get(name, 0) + 1
            tool = self.find(name)
            if tool is None or name in patience.closed:
                continue
            if patience.chains[name] > options_of(tool).max_retries:
                patience.closed.add(name)
                ended.add(name)
        return [_final(one, patience.chains[one.name]) if one.name in ended else one for one in results]


class _Patience:
    """How often in a row each tool was called wrongly in one branch, and which were closed for that."""

    __slots__ = ("chains", "closed")

    def __init__(self) -> None:
        self.chains: dict[str, int] = {}
        self.closed: set[str] = set()


class _Gone:
    """Stands in for a tool that its source no longer has: recorded calls answer still, new ones fail in words."""

    description = ""
    effect: Effect = "read"
    timeout_s: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Any] = {}

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        raise ToolError(f"The tool {self.name!r} is no longer there.")


def specs_of(tools: Iterable[Tool]) -> tuple[ToolSpec, ...]:
    return tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in tools)


def _final(result: ToolResult, turns: int) -> ToolResult:
    words = f"{result.content} This was try {turns}: {result.name!r} is closed now. Go on without it."
    return ToolResult(result.call_id, result.name, words, is_error=True, error_type="tool_error")


def names_in(data: Mapping[str, Any]) -> list[str]:
    """The names that a recorded model call offered from sources."""
    return list(data.get("offered") or ())
