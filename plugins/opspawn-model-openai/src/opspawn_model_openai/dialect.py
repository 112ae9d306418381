"""What both dialects share: their shape for the provider, tool calls, settings, and how an answer ends badly."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Protocol

from opspawn.contracts.model import Message, ModelRequest, ModelResponse, OnDelta, ToolCall
from opspawn.errors import ModelError

#: What the provider itself decides; a setting of that name would break its reading of the answer.
_RESERVED = ("model", "messages", "input", "tools", "stream")
_STRICT = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$defs", "$ref", "enum", "const"}
_STRICT |= {"title", "description", "pattern", "multipleOf", "minItems", "maxItems"}
_STRICT |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


class ServerFault(Exception):
    """The server reported an error inside an answer that began well; `body` is its error object."""

    def __init__(self, body: Any) -> None:
        super().__init__(str(body))
        self.body = body


class BrokenAnswer(Exception):
    """The answer ended too early, or (`foreign`) is none of this protocol."""

    def __init__(self, text: str, *, foreign: bool = False) -> None:
        super().__init__(text)
        self.foreign = foreign


class Reader(Protocol):
    """Puts a streamed answer together."""

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take the next event; hands pieces on as they come. Raises: ServerFault, BrokenAnswer."""
        ...

    def finish(self) -> ModelResponse:
        """The whole answer, at the end of the stream. Raises: BrokenAnswer, if the protocol's own end was missing."""
        ...


class Dialect(Protocol):
    """One of the two protocols: a request as its body, an answer as ours."""

    path: str

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send. Raises: ModelError, for a setting that cannot be passed on."""
        ...

    def answer(self, request: ModelRequest, data: Mapping[str, Any]) -> ModelResponse:
        """Read an answer that came whole. Raises: ServerFault, BrokenAnswer."""
        ...

    def reader(self, request: ModelRequest, on_delta: OnDelta) -> Reader:
        """Make a reader for one streamed answer."""
        ...


def with_settings(body: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add the caller's settings to a body; a setting of None takes a default of ours out again.

    Raises:
        ModelError: a setting has the name of something that the provider decides.
    """
    for name in _RESERVED:
        if name in settings:
            raise ModelError(f"{name!r} cannot be a model setting.", remedy="Take it out of the agent's settings.")
    merged = body | dict(settings)
    return {name: value for name, value in merged.items() if value is not None}


def tool_text(message: Message) -> str:
    """A tool's result as the model reads it. Neither dialect can mark a failure, so the text must say it."""
    if message.is_error and not message.content.lower().startswith("error"):
        return f"Error: {message.content}"
    return message.content


def read_calls(request: ModelRequest, raw: Iterable[tuple[Any, Any, Any]]) -> tuple[ToolCall, ...]:
    """Return the calls given as (id, name, arguments).

    Several local servers leave ids out, or repeat them. Such a call gets `call_N`, N being its number in the
    conversation, so that ids stay unique and a repeated answer gets the same ones.
    """
    taken = {call.id for message in request.messages for call in message.tool_calls}
    number = sum(len(message.tool_calls) for message in request.messages)
    calls = []
    for id, name, arguments in raw:
        if not isinstance(id, str) or not id or id in taken:
            while (id := f"call_{number}") in taken:
                number += 1
        taken.add(id)
        calls.append(_call(id, str(name or ""), arguments))
    return tuple(calls)


def _call(id: str, name: str, arguments: Any) -> ToolCall:
    # Ollama's native shape, seen from gateways: an object instead of its text. No arguments at all means none.
    if isinstance(arguments, dict):
        return ToolCall(id, name, arguments)
    text = str(arguments) if arguments is not None else ""
    if not text.strip():
        return ToolCall(id, name)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    return ToolCall(id, name, value) if isinstance(value, dict) else ToolCall(id, name, malformed=text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def count(figures: Any, *path: str) -> int:
    """The number at a path of nested objects; 0 where a server leaves it out."""
    for key in path:
        figures = figures.get(key) if isinstance(figures, dict) else None
    return int(figures) if isinstance(figures, (int, float)) and figures > 0 else 0


def is_strict(schema: Any) -> bool:
    """Whether OpenAI can enforce the schema to the letter; any other is followed only as well as the model can."""
    return isinstance(schema, dict) and schema.get("type") == "object" and _enforceable(schema)


def _enforceable(schema: Any) -> bool:
    if not isinstance(schema, dict) or not schema.keys() <= _STRICT:
        return False
    if not schema.keys() & {"type", "anyOf", "$ref", "enum", "const"}:
        return False
    properties = schema.get("properties") or {}
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(properties)
    ):
        return False
    if schema.get("type") == "array" and "items" not in schema:
        return False
    inner = [*properties.values(), *(schema.get("$defs") or {}).values(), *(schema.get("anyOf") or ())]
    return all(_enforceable(part) for part in [*inner, *([schema["items"]] if "items" in schema else [])])
