"""The two ways in which a model gives its plan: by calling a tool, and as JSON in its text.

Vendors hold a plan to no schema in either: the inputs of each step are those of another tool, which what they call
"strict" cannot say. So a plan is checked here, and what is wrong with it is told to the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opspawn.agentkit.content import opening
from opspawn.contracts.content import Part
from opspawn.contracts.model import Message, ModelResponse, ToolCall
from opspawn.contracts.run import AgentContext
from opspawn.contracts.tool import Effect, Tool, ToolContext
from opspawn.errors import InvalidInput

_HOW = """You work by plans. {give}
Steps that do not need one another run at the same time, so make the plan wide rather than long.
A step calls a tool, or, without a tool, is a question that you are asked alone: its description says what to work out.
Inputs may refer to what other steps gave: "${{find}}" is the whole result of the step find, "${{find.items[0].name}}"
a part of it; such a step waits for the other. Name other steps that must be done before in needs. Leave effect out
unless a step does more than its tool says. If no tool is needed, answer at once."""
_BY_CALL = "Call make_plan with the steps of your plan."
_IN_TEXT = "Write your plan as one JSON object, and nothing else: {schema}"
_FENCED = re.compile(r"```[\w-]*\s*\n(?P<inside>.*?)\n?\s*```", re.DOTALL)
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "A short name of the step: letters, digits, _ and -."},
                    "description": {"type": "string", "description": "What it is for."},
                    "tool": {"type": "string", "description": "The tool's name; leave out for a step of thinking."},
                    "inputs": {"type": "object", "description": "The arguments of the tool."},
                    "effect": {"type": "string", "enum": ["read", "idempotent", "once"]},
                    "needs": {"type": "array", "items": {"type": "string"}, "description": "Ids of steps before it."},
                },
                "required": ["id"],
            },
        }
    },
    "required": ["steps"],
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model said: a `draft` of a plan, or an `answer`, or with a `fault` neither."""

    response: ModelResponse
    answer: str = ""
    draft: Any = None
    fault: str | None = None
    call: ToolCall | None = None


class Voice(Protocol):
    """How to open a conversation, have the model's next turn, and tell it what came of that."""

    def opening(self, context: AgentContext, tools: str) -> list[Message]: ...

    async def turn(self, context: AgentContext, messages: Sequence[Message], *, last: bool = False) -> Turn:
        """The next turn; the `last` one without a plan."""
        ...

    def told(self, turn: Turn, words: str, parts: tuple[Part, ...] = ()) -> list[Message]:
        """The turn, and what is said to it; that is in the last message."""
        ...


class _MakePlan:
    """What a model calls to give its plan; never carried out as a tool."""

    name = "make_plan"
    description = "Says which steps to carry out. You are told what came of them."
    parameters = _SCHEMA
    effect: Effect = "read"
    timeout_s: float | None = None

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        raise InvalidInput("'make_plan' has a meaning for the planner plan-execute only.")


MAKE_PLAN = _MakePlan()


class NativeVoice:
    """The model's own tool calling, with one tool."""

    def opening(self, context: AgentContext, tools: str) -> list[Message]:
        return _opening(context, _HOW.format(give=_BY_CALL), tools)

    async def turn(self, context: AgentContext, messages: Sequence[Message], *, last: bool = False) -> Turn:
        response = await context.think(messages, tools=() if last else (MAKE_PLAN,))
        if not response.tool_calls:
            return Turn(response, response.text)
        call = next((call for call in response.tool_calls if call.name == MAKE_PLAN.name), None)
        if call is None:
            names = ", ".join(call.name for call in response.tool_calls)
            return Turn(
                response, fault=f"Nothing was carried out. Put the calls of {names} into a plan: call make_plan."
            )
        if call.malformed is not None:
            words = f"The arguments were not a JSON object: {call.malformed[:200]!r}. Send them again as JSON."
            return Turn(response, fault=words, call=call)
        return Turn(response, draft=call.arguments, call=call)

    def told(self, turn: Turn, words: str, parts: tuple[Part, ...] = ()) -> list[Message]:
        calls = turn.response.tool_calls
        answered = turn.call or calls[-1]
        others = [call for call in calls if call is not answered]
        return [
            turn.response.message(),
            *(Message("tool", "Not carried out: give one plan at a time.", (), call.id, True) for call in others),
            Message("tool", words, (), answered.id, turn.draft is None, parts),
        ]


class TextVoice:
    """Plans and answers in plain text."""

    def opening(self, context: AgentContext, tools: str) -> list[Message]:
        schema = json.dumps(_SCHEMA, separators=(",", ":"))
        return _opening(context, _HOW.format(give=_IN_TEXT.format(schema=schema)), tools)

    async def turn(self, context: AgentContext, messages: Sequence[Message], *, last: bool = False) -> Turn:
        response = await context.think(messages, tools=(), output=None)
        draft, fault = _in_text(response.text)
        if fault is None and draft is None:
            return Turn(response, response.text)
        return Turn(response, draft=draft, fault=fault)

    def told(self, turn: Turn, words: str, parts: tuple[Part, ...] = ()) -> list[Message]:
        return [turn.response.message(), Message("user", f"Observation: {words}", parts=parts)]


def _opening(context: AgentContext, how: str, tools: str) -> list[Message]:
    words = "\n\n".join(part for part in (context.instructions, how, f"Tools:\n{tools}" if tools else "") if part)
    return [Message("system", words), *(one for one in opening(context) if one.role != "system")]


def catalogue(tools: Sequence[Tool]) -> str:
    """The tools in words."""
    return "\n".join(
        f"- {tool.name} [{tool.effect}]: {tool.description}\n"
        f"  Inputs: {json.dumps(tool.parameters, ensure_ascii=False, separators=(',', ':'))}"
        for tool in tools
    )


def _in_text(text: str) -> tuple[Any, str | None]:
    """The plan in a text, or what is wrong with it; neither, where the text is an answer."""
    fenced = _FENCED.search(text)
    inside = (fenced["inside"] if fenced else text).strip()
    if not inside.startswith("{"):
        start = re.search(r"^\s*\{\s*\"steps\"", text, re.MULTILINE)
        if start is None:
            return None, None
        inside = text[start.start() :].strip()
    try:
        data, _ = json.JSONDecoder(strict=False).raw_decode(inside)
    except (ValueError, RecursionError) as error:
        fault = f"That is not a JSON object ({error}): {inside[:100]!r}."
        return None, f"{fault} Write the whole plan again, or your answer in words."
    return (data, None) if isinstance(data, dict) and "steps" in data else (None, None)
