"""ReAct in plain text, for models that cannot call tools: the prompt, and a tolerant reader of what they write.

The form is the paper's: `Thought`, `Action`, `Action Input`, `Observation`, `Final Answer`. Small models keep to it
roughly, so the reader takes labels in any case and in bold, JSON over several lines or in a fence, Python's way of
writing it, `tool[argument]` and `tool(argument)`, and cuts off observations that the model made up.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.model import ToolCall
from opspawn.contracts.tool import Tool

FORM = "Write either 'Action:' and 'Action Input:' with a JSON object, or 'Final Answer:'."

_LABEL = re.compile(
    r"^[\s>*_#`-]*(thought|action[ _]?input|action|observation|final[ _]?answer)[ \t*_`]*:[*_]*[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"\A\s*```[\w-]*\s*\n?(.*?)\s*(?:```.*)?\Z", re.DOTALL)
_CALLED = re.compile(r"\A([\w.-]+)\s*(?:\[(.*)\]|\((.*)\))\Z", re.DOTALL)
_FINAL = frozenset({"final answer", "finish", "answer"})


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote: calls, or an answer, or, with neither, no more than thoughts."""

    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None


def prompt(tools: Sequence[Tool]) -> str:
    """What tells a model the tools and the form."""
    lines = [f"- {tool.name}: {tool.description}\n  Input: {_schema(tool)}" for tool in tools]
    return "\n".join(
        [
            "You can use tools. You have these:",
            *lines,
            "",
            "Write in this form, each label at the begin of a line:",
            "",
            "Thought: what you know, and what to do next",
            f"Action: the name of one tool ({', '.join(tool.name for tool in tools)})",
            "Action Input: its input, as one JSON object",
            "",
            "Then stop. You are given the result as 'Observation: ...', and go on in the same form. Never write an",
            "observation yourself. As soon as you know the answer, write:",
            "",
            "Thought: I know the answer",
            "Final Answer: the answer",
        ]
    )


def read(text: str, tools: Sequence[Tool], turn: int) -> Written:
    """What a model wrote in its `turn`-th answer, by which calls are numbered. Text without any label is an answer."""
    parts = list(_parts(text))
    if not any(label for label, _ in parts):
        return Written(answer=text.strip() or None)
    calls: list[ToolCall] = []
    action: str | None = None
    for label, body in parts:
        if label == "observation":
            break  # from here on it is made up
        if label == "final answer":
            if not calls and action is None:
                return Written(answer=body.strip())
            break
        if label == "action":
            if action is not None:
                calls.append(_call(action, "", tools, f"{turn}.{len(calls) + 1}"))
            action = body.strip()
        elif label == "action input" and action is not None:
            if _bare(action).casefold() in _FINAL:
                return Written(tuple(calls)) if calls else Written(answer=_said(body))
            calls.append(_call(action, body, tools, f"{turn}.{len(calls) + 1}"))
            action = None
    if action is not None:
        head, _, rest = action.partition(":")
        if _bare(head).casefold() in _FINAL and not calls:
            return Written(answer=rest.strip())
        calls.append(_call(action, "", tools, f"{turn}.{len(calls) + 1}"))
    return Written(tuple(calls))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """The labels, each with the text up to the next; first the text before them. A label inside JSON is none."""
    label, start, at = "", 0, 0
    while (found := _LABEL.search(text, at)) is not None:
        yield label, text[start : found.start()]
        label = " ".join(re.split(r"[ _]?(?=input|answer)", found[1].casefold(), maxsplit=1))
        start = at = found.end()
        if label == "action input":
            at = _end_of_json(text, start)
    yield label, text[start:]


def _end_of_json(text: str, start: int) -> int:
    brace = re.compile(r"\s*(?:```[\w-]*\s*)?(?=\{)").match(text, start)
    if brace is None:
        return start
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, brace.end())[1]
    except ValueError:
        return start


def _call(action: str, given: str, tools: Sequence[Tool], id: str) -> ToolCall:
    name, given = _bare(action), given.strip()
    if not given and (called := _CALLED.match(name)) is not None:
        name, given = called[1], (called[2] or called[3] or "").strip()
    known = {tool.name.casefold(): tool for tool in tools}
    tool = known.get(name.casefold()) or known.get(name.casefold().replace(" ", "_"))
    name = tool.name if tool is not None else name
    value = _value(given)
    if isinstance(value, dict):
        return ToolCall(id, name, value)
    only = _only_parameter(tool)
    if given and only is not None and not given.startswith("{"):
        return ToolCall(id, name, {only: given.strip("\"'") if value is None or isinstance(value, str) else value})
    return ToolCall(id, name, {}, malformed=given) if given else ToolCall(id, name)


def _value(given: str) -> Any:
    """The JSON in it, or the Python that is meant as JSON; None if it is neither."""
    inner = given
    if given.startswith("```") and (fenced := _FENCE.match(given)) is not None:
        inner = fenced[1]
    inner = inner.strip().strip("`").strip()
    try:
        return json.JSONDecoder(strict=False).raw_decode(inner)[0]
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(inner)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _only_parameter(tool: Tool | None) -> str | None:
    names = list(tool.parameters.get("properties") or {}) if tool is not None else []
    required = list(tool.parameters.get("required") or ()) if tool is not None else []
    if len(required) == 1:
        return str(required[0])
    return str(names[0]) if len(names) == 1 else None


def _bare(name: str) -> str:
    return name.strip().strip("`\"'*_ ").rstrip(".").strip()


def _said(body: str) -> str:
    """An answer that was given as the input of an action."""
    value = _value(body.strip())
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return value if isinstance(value, str) else body.strip()


def _schema(tool: Tool) -> str:
    return json.dumps(tool.parameters, ensure_ascii=False, separators=(",", ":"))
