"""The calling of a tool: the one place through which every call goes, of a model, a workflow or a function.

`use` is the call itself, with its place in line and its time; what is decided about a call (policy, approval, budget)
belongs around it. `told` and `refused` say its outcome to a model.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from opspawn.agentkit.failures import named
from opspawn.agentkit.plain import as_text
from opspawn.agentkit.slots import Slots
from opspawn.agentkit.stopping import within
from opspawn.contracts.model import ToolCall
from opspawn.contracts.tool import Tool, ToolContext, ToolOptions, ToolResult
from opspawn.errors import InvalidInput, OpspawnError

USUAL = ToolOptions()
#: Longer errors (a whole HTML page, say) are cut before a model sees them, in characters.
MAX_WORDS = 4_096


def options_of(tool: Tool) -> ToolOptions:
    """How the tool wants to be called; tools of others need not say."""
    return getattr(tool, "options", USUAL)


async def use(tool: Tool, arguments: dict[str, Any], context: ToolContext, timeout_s: float | None = None) -> Any:
    """Call a tool and return its value; `timeout_s` stands in for the tool's own.

    A call waits for its place, if the tool has a limit of calls at a time, before its time begins to run.

    Raises: StepTimeout: its time was up. And whatever the tool raises.
    """
    limit = timeout_s if timeout_s is not None else tool.timeout_s
    slots: Slots | None = getattr(tool, "slots", None)
    if slots is None:
        if limit is None:
            return await tool.call(arguments, context)
        return await within(limit, tool.call(arguments, context), f"The tool {tool.name!r}")
    async with slots.here():
        if limit is None:
            return await tool.call(arguments, context)
        return await within(limit, tool.call(arguments, context), f"The tool {tool.name!r}")


def told(call: ToolCall, value: Any, options: ToolOptions, handle: str) -> ToolResult:
    """The outcome for the model: the value as text, cut after `max_result` characters, with how to read on."""
    text = as_text(value)
    if len(text) <= options.max_result:
        return ToolResult(call.id, call.name, text, value)
    shown = options.max_result
    more = f"[Characters 0 to {shown} of {len(text)}. Read on: read_result(handle={handle!r}, offset={shown}).]"
    return ToolResult(call.id, call.name, f"{text[:shown]}\n{more}", value, handle=handle)


def with_changes(result: ToolResult, arguments: Any) -> ToolResult:
    """The outcome of a call whose approver changed its arguments, which the model must know."""
    words = f"[An approver changed the arguments to {json.dumps(arguments, ensure_ascii=False)}.]"
    return replace(result, content=f"{words}\n{result.content}")


def refused(call: ToolCall, error: BaseException | str, error_type: str = "error") -> ToolResult:
    """The outcome for the model of a call that failed, or was not carried out: words, never a traceback."""
    if isinstance(error, str):
        return ToolResult(call.id, call.name, error, is_error=True, error_type=error_type)
    kind = error.error_type if isinstance(error, OpspawnError) else error_type
    return ToolResult(call.id, call.name, in_words(error), is_error=True, error_type=kind)


def in_words(error: BaseException) -> str:
    """An error as a model reads it: what is wrong and, where known, what fits."""
    if isinstance(error, InvalidInput) and error.faults:
        text = f"{error.message} {'; '.join(error.faults)}"
    elif isinstance(error, OpspawnError):
        text = str(error)
    else:
        text = named(error)
    return text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}… ({len(text)} characters)"
