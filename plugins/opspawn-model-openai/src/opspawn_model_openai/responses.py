"""Responses, OpenAI's own protocol, used without its memory: a request carries the whole conversation, none is stored.

Reasoning goes back as the sealed item that came, without the ids that the server gives: it keeps nothing that they
could stand for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opspawn.agentkit.providing import BrokenAnswer, ServerFault, count, read_calls, with_settings
from opspawn.contracts.model import (
    Called,
    FinishReason,
    Message,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    OnDelta,
    Part,
    Reasoning,
    Text,
    ToolCall,
    Usage,
)
from opspawn_model_openai.content import responses_part, shown, tool_words
from opspawn_model_openai.dialect import RESERVED, VENDOR, is_strict
from opspawn_model_openai.servers import Server, reasons

_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


class ResponsesDialect:
    """The Responses protocol."""

    path = "/responses"

    def __init__(self, server: Server) -> None:
        self._official = server.name == "openai"

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send."""
        items = [item for message in request.messages for item in _items(message, request.model)]
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
        if self._official and reasons(request.model):
            body["include"] = ["reasoning.encrypted_content"]
        settings = _settings(request.settings)
        if request.output_schema is not None:
            schema = request.output_schema
            wanted = {"type": "json_schema", "name": "output", "schema": schema, "strict": is_strict(schema)}
            settings["text"] = {**(settings.get("text") or {}), "format": wanted}
        return with_settings(body, settings, RESERVED)

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


def _items(message: Message, model: str) -> list[dict[str, Any]]:
    if message.role == "tool":
        output: Any = tool_words(message)
        if shows := shown(message):
            output = [made for part in (Text(output), *shows) if (made := responses_part(part))]
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": output}]
    if message.role == "assistant":
        return _answer_items(message, model)
    content: Any = [made for part in message.parts if (made := responses_part(part))] or message.content
    return [{"type": "message", "role": message.role, "content": content}]


def _answer_items(message: Message, model: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    left = {call.id: call for call in message.tool_calls}
    for part in message.parts or (Text(message.content),):
        if isinstance(part, Text) and part.text:
            items.append({"type": "message", "role": "assistant", "content": part.text})
        elif isinstance(part, Called) and (call := left.pop(part.id, None)) is not None:
            items.append(_call_item(call))
        elif isinstance(part, Reasoning) and (part.vendor, part.model) == (VENDOR, model):
            items += _thought_items(part)
    items += [_call_item(call) for call in left.values()]
    # A thought that nothing follows, as when an answer was cut off, is refused.
    return items if items and items[-1]["type"] != "reasoning" else [i for i in items if i["type"] != "reasoning"]


def _thought_items(part: Reasoning) -> list[dict[str, Any]]:
    """The sealed item; none for a thought that the server did not seal."""
    if not (sealed := part.data.get("encrypted")):
        return []
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return [{"type": "reasoning", "summary": summary, "encrypted_content": sealed}]


def _call_item(call: ToolCall) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": json.dumps(call.arguments)}


def _fault(event: Mapping[str, Any]) -> Any:
    """The error object, which stands in the failed response, in the event's `error`, or is the event itself."""
    response = event.get("response")
    return (response.get("error") if isinstance(response, dict) else None) or event.get("error") or dict(event)


def _response(request: ModelRequest, data: Mapping[str, Any], output: list[dict[str, Any]]) -> ModelResponse:
    raw = [(i.get("call_id"), i.get("name"), i.get("arguments")) for i in output if i.get("type") == "function_call"]
    calls = read_calls(request, raw)
    parts: list[Part] = []
    refusal = ""
    left = iter(calls)
    for item in output:
        if item.get("type") == "function_call":
            parts.append(Called(next(left).id))
        elif item.get("type") == "reasoning":
            parts.append(_thought(request, item))
        elif item.get("type") == "message":
            said = [part for part in item.get("content") or () if isinstance(part, dict)]
            if text := "".join(str(part.get("text") or "") for part in said if part.get("type") == "output_text"):
                parts.append(Text(text))
            refusal += "".join(str(part.get("refusal") or "") for part in said if part.get("type") == "refusal")
    text = "".join(part.text for part in parts if isinstance(part, Text))
    finish: FinishReason = "tool_calls" if calls else "stop"
    if data.get("status") == "incomplete":
        reason = (data.get("incomplete_details") or {}).get("reason")
        finish = "content_filter" if reason == "content_filter" else "length"
    elif refusal and not text:
        finish = "content_filter"
        parts.append(Text(refusal))
    return ModelResponse(
        text or refusal,
        calls,
        _usage(data.get("usage")),
        finish,
        str(data.get("model") or request.model),
        str(data["id"]) if data.get("id") else None,
        tuple(parts) if any(isinstance(part, Reasoning) for part in parts) else (),
    )


def _thought(request: ModelRequest, item: Mapping[str, Any]) -> Reasoning:
    told = item.get("summary") or item.get("content") or ()
    text = "\n\n".join(str(part.get("text") or "") for part in told if isinstance(part, dict))
    sealed = item.get("encrypted_content")
    return Reasoning(text, VENDOR, request.model, {"encrypted": sealed} if sealed else {})


def _usage(usage: Any) -> Usage:
    return Usage(
        count(usage, "input_tokens"),
        count(usage, "output_tokens"),
        count(usage, "input_tokens_details", "cached_tokens"),
        count(usage, "output_tokens_details", "reasoning_tokens"),
        1,
        count(usage, "input_tokens_details", "cache_write_tokens"),
    )
