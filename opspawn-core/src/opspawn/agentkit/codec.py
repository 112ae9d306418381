"""Answers of models and results of tools as plain JSON and back: what journals and recordings hold.

Empty fields are left out, since a journal repeats them with every step; keys that this version does not know are
ignored, so that an older worker reads the journal of a newer one. Both directions are written out by hand: they run
with every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opspawn.contracts.model import ModelResponse, ToolCall, Usage
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


def usage_to_json(usage: Usage) -> dict[str, int]:
    """Return the counts that are not zero."""
    return {field: count for field in _USAGE if (count := getattr(usage, field))}


def usage_from_json(data: Mapping[str, Any]) -> Usage:
    """Return the usage; what is missing is 0."""
    return Usage(*[data.get(field, 0) for field in _USAGE])


def response_to_json(response: ModelResponse) -> dict[str, Any]:
    """Return the answer of a model as JSON, without the empty fields."""
    data: dict[str, Any] = {}
    if response.text:
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
    return data


def response_from_json(data: Mapping[str, Any]) -> ModelResponse:
    """Return the answer of a model. Raises: KeyError when a call in it has no id or name."""
    return ModelResponse(
        data.get("text", ""),
        _calls(data),
        usage_from_json(data.get("usage") or {}),
        data.get("finish_reason", "stop"),
        data.get("model", ""),
        data.get("request_id"),
    )


def result_to_json(result: ToolResult) -> dict[str, Any]:
    """Return the outcome of a tool call as JSON; a text that is the value itself is written once."""
    data: dict[str, Any] = {"call_id": result.call_id, "name": result.name, "content": result.content}
    if result.is_error:
        data["is_error"] = True
    elif isinstance(result.value, str) and result.value == result.content:
        data["value_is_content"] = True
    elif result.value is not None:
        data["value"] = result.value
    return data


def result_from_json(data: Mapping[str, Any]) -> ToolResult:
    """Return the outcome of a tool call. Raises: KeyError when call_id or name is missing."""
    content = data.get("content", "")
    value = content if data.get("value_is_content") else data.get("value")
    return ToolResult(data["call_id"], data["name"], content, value, data.get("is_error", False))


def _calls(data: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    calls = data.get("tool_calls")
    return tuple([call_from_json(call) for call in calls]) if calls else ()


_USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "requests")
