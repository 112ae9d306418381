"""Responses, OpenAI's own protocol, used without its memory: a request carries the whole conversation, none is stored.

Reasoning is not sent back. That is allowed as long as no item carries the id that the server once gave it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opspawn.contracts.model import FinishReason, Message, ModelDelta, ModelRequest, ModelResponse, OnDelta, Usage
from opspawn_model_openai.dialect import (
    BrokenAnswer,
    ServerFault,
    count,
    is_strict,
    read_calls,
    tool_text,
    with_settings,
)

_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


class ResponsesDialect:
    """The Responses protocol."""

    path = "/responses"

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send."""
        items = [item for message in request.messages for item in _items(message)]
        body: dict[str, Any] = {"model": request.model, "input": items, "store": False}
        if request.tools:
            # Strict is the default here; it would refuse every schema with an optional argument.
            body["tools"] = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
                for tool in request.tools
            ]
        if stream:
            body["stream"] = True
        settings = _settings(request.settings)
        if request.output_schema is not None:
            schema = request.output_schema
            wanted = {"type": "json_schema", "name": "output", "schema": schema, "strict": is_strict(schema)}
            settings["text"] = {**(settings.get("text") or {}), "format": wanted}
        return with_settings(body, settings)

    def answer(self, request: ModelRequest, data: Mapping[str, Any]) -> ModelResponse:
        """Read an answer that came whole."""
        if data.get("error") or data.get("status") == "failed":
            raise ServerFault(data.get("error") or {"message": "the response failed"})
        output = data.get("output")
        if not isinstance(output, list):
            raise BrokenAnswer("its answer holds no output", foreign=True)
        if data.get("status") not in (None, "completed", "incomplete"):
            raise BrokenAnswer(f"it returned a response that is {data['status']}")
        return _response(request, data, [item for item in output if isinstance(item, dict)])

    def reader(self, request: ModelRequest, on_delta: OnDelta) -> ResponsesReader:
        """Make a reader for one streamed answer."""
        return ResponsesReader(self, request, on_delta)


class ResponsesReader:
    """Hands on the pieces of a response; the whole of it stands in the last event."""

    def __init__(self, dialect: ResponsesDialect, request: ModelRequest, on_delta: OnDelta) -> None:
        self._dialect = dialect
        self._request = request
        self._on_delta = on_delta
        self._names: dict[Any, str] = {}
        self._done: list[Any] = []
        self._whole: dict[str, Any] | None = None

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        kind, item = event.get("type"), event.get("item")
        if kind in ("error", "response.failed") or (event.get("error") and kind is None):
            raise ServerFault(_fault(event))
        if kind in ("response.completed", "response.incomplete") and isinstance(event.get("response"), dict):
            self._whole = event["response"]
        elif kind == "response.output_item.added" and isinstance(item, dict):
            self._names[event.get("output_index")] = str(item.get("name") or "")
        elif kind == "response.output_item.done":
            self._done.append(item)
        elif delta := event.get("delta"):
            self._hand_on(str(kind), str(delta), event.get("output_index"))

    def _hand_on(self, kind: str, delta: str, index: Any) -> None:
        if kind == "response.output_text.delta":
            self._on_delta(ModelDelta("text", delta))
        elif kind in _REASONING:
            self._on_delta(ModelDelta("reasoning", delta))
        elif kind == "response.function_call_arguments.delta":
            self._on_delta(ModelDelta("tool_call", delta, tool=self._names.get(index) or None))

    def finish(self) -> ModelResponse:
        """The whole answer."""
        if self._whole is None:
            raise BrokenAnswer("its stream ended before the answer was complete")
        # Some gateways leave the output of the last event empty, having sent every item before.
        whole = self._whole if self._whole.get("output") else self._whole | {"output": self._done}
        return self._dialect.answer(self._request, whole)


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under the names of this dialect, so that an agent's settings need not know which one is spoken."""
    renamed = dict(settings)
    for alias in ("max_tokens", "max_completion_tokens"):
        if alias in renamed:
            renamed["max_output_tokens"] = renamed.pop(alias)
    if (effort := renamed.pop("reasoning_effort", None)) is not None:
        renamed["reasoning"] = {**(renamed.get("reasoning") or {}), "effort": effort}
    if (verbosity := renamed.pop("verbosity", None)) is not None:
        renamed["text"] = {**(renamed.get("text") or {}), "verbosity": verbosity}
    choice = renamed.get("tool_choice")
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        renamed["tool_choice"] = {"type": "function", "name": choice}
    return renamed


def _items(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        output = {"type": "function_call_output", "call_id": message.tool_call_id, "output": tool_text(message)}
        return [output]
    items: list[dict[str, Any]] = []
    if message.content or message.role != "assistant":
        items.append({"type": "message", "role": message.role, "content": message.content})
    for call in message.tool_calls:
        arguments = json.dumps(call.arguments)
        items.append({"type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments})
    return items


def _fault(event: Mapping[str, Any]) -> Any:
    """The error object, which stands in the failed response, in the event's `error`, or is the event itself."""
    response = event.get("response")
    return (response.get("error") if isinstance(response, dict) else None) or event.get("error") or dict(event)


def _response(request: ModelRequest, data: Mapping[str, Any], output: list[dict[str, Any]]) -> ModelResponse:
    parts = [part for item in output if item.get("type") == "message" for part in item.get("content") or ()]
    parts = [part for part in parts if isinstance(part, dict)]
    text = "".join(str(part.get("text") or "") for part in parts if part.get("type") == "output_text")
    refusal = "".join(str(part.get("refusal") or "") for part in parts if part.get("type") == "refusal")
    calls = read_calls(
        request,
        [(i.get("call_id"), i.get("name"), i.get("arguments")) for i in output if i.get("type") == "function_call"],
    )
    finish: FinishReason = "tool_calls" if calls else "stop"
    if data.get("status") == "incomplete":
        reason = (data.get("incomplete_details") or {}).get("reason")
        finish = "content_filter" if reason == "content_filter" else "length"
    elif refusal and not text:
        finish = "content_filter"
    id = str(data["id"]) if data.get("id") else None
    model = str(data.get("model") or request.model)
    return ModelResponse(text or refusal, calls, _usage(data.get("usage")), finish, model, id)


def _usage(usage: Any) -> Usage:
    return Usage(
        count(usage, "input_tokens"),
        count(usage, "output_tokens"),
        count(usage, "input_tokens_details", "cached_tokens"),
        count(usage, "output_tokens_details", "reasoning_tokens"),
        1,
    )
