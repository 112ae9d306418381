"""`read_result`: how a model reads on where a long result was cut. Offered by itself once something was cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from opspawn.agentkit.function_tool import FunctionTool, tool
from opspawn.agentkit.plain import as_text
from opspawn.errors import ToolError

#: No other tool of an agent may have it.
NAME = "read_result"
#: How much is read at a time, in characters: with the line about what is left, it fits into a result.
MOST = 16_000


def reader_of(kept: Mapping[str, Any]) -> FunctionTool[..., Any]:
    """The tool over the results of one run, by handle. They are in the run's journal, or in memory without one."""

    @tool(effect="read", name=NAME)
    async def read_result(
        handle: str, offset: Annotated[int, Field(ge=0)], limit: Annotated[int, Field(ge=1, le=MOST)] = 8_000
    ) -> str:
        """Read on in a tool's result that was cut.

        Args:
            handle: as the cut result gave it.
            offset: the first character to read.
            limit: how many characters.
        """
        if handle not in kept:
            raise ToolError(f"There is no result {handle!r}.", remedy=f"Handles: {', '.join(kept)}.")
        text = as_text(kept[handle])
        if offset >= len(text):
            return f"[The end: the result has {len(text)} characters.]"
        end = min(len(text), offset + limit)
        left = f"Read on from offset={end}" if end < len(text) else "That was all"
        return f"{text[offset:end]}\n[Characters {offset} to {end} of {len(text)}. {left}.]"

    return read_result
