"""What both dialects share: their shape for the provider, tool calls, settings, and how an answer ends badly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from opspawn.contracts.model import ModelRequest, ModelResponse, OnDelta

#: What the provider itself decides; a setting of that name would break its reading of the answer.
VENDOR = "openai"
RESERVED = ("model", "messages", "input", "tools", "stream")
_STRICT = {"type", "properties", "required", "additionalProperties", "items", "anyOf", "$defs", "$ref", "enum", "const"}
_STRICT |= {"title", "description", "pattern", "multipleOf", "minItems", "maxItems"}
_STRICT |= {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


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
