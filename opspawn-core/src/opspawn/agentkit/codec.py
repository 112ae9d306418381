"""Answers of models and results of tools as plain JSON and back: what journals and recordings hold.

Empty fields are left out, since a journal repeats them with every step; keys that this version does not know are
ignored, so that an older worker reads the journal of a newer one. Both directions are written out by hand: they run
with every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from opspawn.agentkit.parts import part_from_json, part_to_json
from opspawn.contracts.content import Part, Text
from opspawn.contracts.model import Message, ModelResponse, ToolCall, Usage
from opspawn.contracts.tool import ToolResult


def call_to_json(call: ToolCall) -> dict[str, Any]:
    """Return `{"id", "name", "arguments"}`; `malformed` instead of the arguments where they were no JSON object."""
    data: dict[str, Any] = {"id": call.id, "name": call.name}
    if call.arguments:
        data["arguments"] = call.arguments
    if call.malformed is not None:
        data["malformed"] = call.malformed
    return data


def call_from_json(data: Mapping[str, Any]) -> ToolCall:
    """Return the call. Raises: KeyError when id or name is missing."""
    return ToolCall(data["id"], data["name"], data.get("arguments") or {}, data.get("malformed"))


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """Return the counts that are not zero, and the cost as text, which keeps every digit."""
    data: dict[str, Any] = {field: count for field in _USAGE if (count := getattr(usage, field))}
    if usage.cost is not None:
        data["cost"] = str(usage.cost)
    return data


def usage_from_json(data: Mapping[str, Any]) -> Usage:
    """Return the usage; what is missing is 0."""
    get, cost = data.get, data.get("cost")
    return Usage(
        get("input_tokens", 0),
        get("output_tokens", 0),
        get("cached_tokens", 0),
        get("reasoning_tokens", 0),
        get("requests", 0),
        get("cache_write_tokens", 0),
        None if cost is None else Decimal(cost),
    )


def response_to_json(response: ModelResponse) -> dict[str, Any]:
    """Return the answer of a model as JSON, without the empty fields."""
    data: dict[str, Any] = {}
    if response.parts:
        data["parts"] = [part_to_json(part) for part in response.parts]
    if response.text and not any(isinstance(part, Text) for part in response.parts):
        data["text"] = response.text
    if response.tool_calls:
        data["tool_calls"] = [call_to_json(call) for call in response.tool_calls]
    if usage := usage_to_json(response.usage):
        data["usage"] = usage
    if response.finish_reason != "stop":
        data["finish_reason"] = response.finish_reason
    if response.model:
        data["model"] = response.model
    if response.request_id is not None:
        data["request_id"] = response.request_id
    if response.source:
        data["source"] = response.source
    return data


def response_from_json(data: Mapping[str, Any]) -> ModelResponse:
    """Return the answer of a model. Raises: KeyError when a call in it has no id or name."""
    parts = _parts(data)
    return ModelResponse(
        data["text"] if "text" in data else _text(parts),
        _calls(data),
        usage_from_json(data.get("usage") or {}),
        data.get("finish_reason", "stop"),
        data.get("model", ""),
        data.get("request_id"),
        parts,
        data.get("source", ""),
    )


def message_to_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON, without the empty fields."""
    data: dict[str, Any] = {"role": message.role}
    if message.parts:
        data["parts"] = [part_to_json(part) for part in message.parts]
    if not message.parts or _text(message.parts) != message.content:
        data["content"] = message.content
    if message.tool_calls:
        data["tool_calls"] = [call_to_json(call) for call in message.tool_calls]
    told = {"tool_call_id": message.tool_call_id, "is_error": message.is_error, "source": message.source}
    told["pinned"] = message.pinned
    return data | {key: value for key, value in told.items() if value}


def message_from_json(data: Mapping[str, Any]) -> Message:
    """Return the message. Raises: KeyError, ValueError: it is none."""
    if data["role"] not in ("system", "user", "assistant", "tool"):
        raise ValueError(f"there is no role {data['role']!r}")
    parts = _parts(data)
    return Message(
        data["role"],
        data["content"] if "content" in data else _text(parts),
        _calls(data),
        data.get("tool_call_id"),
        data.get("is_error", False),
        parts,
        data.get("source", ""),
        data.get("pinned", False),
    )


def result_to_json(result: ToolResult) -> dict[str, Any]:
    """Return the outcome of a tool call as JSON; a text that is the value itself is written once."""
    data: dict[str, Any] = {"call_id": result.call_id, "name": result.name, "content": result.content}
    if result.is_error:
        data["is_error"] = True
        if result.error_type is not None:
            data["error_type"] = result.error_type
    elif isinstance(result.value, str) and result.value == result.content:
        data["value_is_content"] = True
    elif result.value is not None:
        data["value"] = result.value
    if result.parts:
        data["parts"] = [part_to_json(part) for part in result.parts]
    if result.handle is not None:
        data["handle"] = result.handle
    return data


def result_from_json(data: Mapping[str, Any]) -> ToolResult:
    """Return the outcome of a tool call. Raises: KeyError when call_id or name is missing."""
    content = data.get("content", "")
    value = content if data.get("value_is_content") else data.get("value")
    return ToolResult(
        data["call_id"],
        data["name"],
        content,
        value,
        data.get("is_error", False),
        _parts(data),
        data.get("error_type"),
        data.get("handle"),
    )


def _calls(data: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    calls = data.get("tool_calls")
    return tuple([call_from_json(call) for call in calls]) if calls else ()


def _parts(data: Mapping[str, Any]) -> tuple[Part, ...]:
    parts = data.get("parts")
    return tuple([part_from_json(part) for part in parts]) if parts else ()


def _text(parts: tuple[Part, ...]) -> str:
    return "".join([part.text for part in parts if isinstance(part, Text)]) if parts else ""


_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "requests", "cache_write_tokens")
