"""Chat Completions: what Ollama, vLLM, llama.cpp, OpenRouter and most others speak.

Servers differ in what they leave out, so answers are read as plain JSON and nothing but the text is taken for granted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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

_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


class ChatDialect:
    """Chat Completions; `official` is OpenAI itself, which renamed a setting that others know by the old name only."""

    path = "/chat/completions"

    def __init__(self, *, official: bool) -> None:
        self._official = official

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send."""
        body: dict[str, Any] = {"model": request.model, "messages": [_message(message) for message in request.messages]}
        if request.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
                }
                for tool in request.tools
            ]
        if request.output_schema is not None:
            schema = request.output_schema
            wanted = {"name": "output", "schema": schema, "strict": is_strict(schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return with_settings(body, self._settings(request.settings))

    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        renamed = dict(settings)
        for alias in ("max_tokens", "max_output_tokens"):
            if alias in renamed:
                renamed["max_completion_tokens" if self._official else "max_tokens"] = renamed.pop(alias)
        choice = renamed.get("tool_choice")
        if isinstance(choice, str) and choice not in ("auto", "none", "required"):
            renamed["tool_choice"] = {"type": "function", "function": {"name": choice}}
        return renamed

    def answer(self, request: ModelRequest, data: Mapping[str, Any]) -> ModelResponse:
        """Read an answer that came whole."""
        _raise_fault(data)
        choice = _choice(data)
        message = choice.get("message") if choice else None
        if choice is None or not isinstance(message, dict):
            raise BrokenAnswer("its answer holds no message", foreign=True)
        _raise_fault(choice)
        calls = [_raw_call(call) for call in message.get("tool_calls") or () if isinstance(call, dict)]
        answer = _Answer(
            _text(message.get("content")), _text(message.get("refusal")), calls, choice.get("finish_reason")
        )
        return answer.response(request, data, data.get("usage"))

    def reader(self, request: ModelRequest, on_delta: OnDelta) -> ChatReader:
        """Make a reader for one streamed answer."""
        return ChatReader(request, on_delta)


class ChatReader:
    """Puts the chunks of a chat completion together."""

    def __init__(self, request: ModelRequest, on_delta: OnDelta) -> None:
        self._request = request
        self._on_delta = on_delta
        self._head: dict[str, Any] = {}
        self._usage: Any = None
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_PartialCall] = []
        self._finish: str | None = None

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take the next chunk."""
        _raise_fault(event)
        for key in ("id", "model"):
            if event.get(key):
                self._head.setdefault(key, event[key])
        # Some servers send running totals with every chunk: the last one counts.
        self._usage = event.get("usage") or self._usage
        choice = _choice(event)
        if choice is None:
            return
        _raise_fault(choice)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._take(delta)
        self._finish = choice.get("finish_reason") or self._finish

    def _take(self, delta: dict[str, Any]) -> None:
        # The same thing under two names: DeepSeek and llama.cpp say the first, Ollama, vLLM and OpenRouter the second.
        if thought := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            self._on_delta(ModelDelta("reasoning", thought))
        if text := _text(delta.get("content")):
            self._text.append(text)
            self._on_delta(ModelDelta("text", text))
        if refusal := _text(delta.get("refusal")):
            self._refusal.append(refusal)
        for piece in delta.get("tool_calls") or ():
            if isinstance(piece, dict):
                self._take_call(piece)

    def _take_call(self, piece: dict[str, Any]) -> None:
        id, name, arguments = _raw_call(piece)
        call = self._find_call(piece.get("index"), id, name)
        call.id = call.id or id
        call.name = call.name or name
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments)
        if arguments:
            call.arguments.append(str(arguments))
            self._on_delta(ModelDelta("tool_call", str(arguments), tool=call.name))

    def _find_call(self, index: Any, id: Any, name: Any) -> _PartialCall:
        """The call that a piece belongs to; a new id with a name begins one, as some servers number every call 0."""
        known = next((call for call in reversed(self._calls) if call.index == index), None)
        if known is None and index is None and self._calls and not name:
            known = self._calls[-1]
        begins = known is not None and bool(id and name and known.id and id != known.id)
        if known is None or begins:
            known = _PartialCall(index)
            self._calls.append(known)
        return known

    def finish(self) -> ModelResponse:
        """The whole answer. `[DONE]` is not needed: a finish reason says as much, and some servers leave it at that."""
        if self._finish is None:
            raise BrokenAnswer("its stream ended before the answer was complete")
        calls = [(call.id, call.name, "".join(call.arguments)) for call in self._calls]
        answer = _Answer("".join(self._text), "".join(self._refusal), calls, self._finish)
        return answer.response(self._request, self._head, self._usage)


@dataclass(slots=True)
class _PartialCall:
    index: Any
    id: Any = None
    name: Any = None
    arguments: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    refusal: str
    calls: list[tuple[Any, Any, Any]]
    finish: Any

    def response(self, request: ModelRequest, head: Mapping[str, Any], usage: Any) -> ModelResponse:
        calls = read_calls(request, self.calls)
        # Several servers say "stop" after tool calls; whether there are calls is what counts.
        finish = _FINISH.get(str(self.finish), "tool_calls" if calls else "stop")
        if self.refusal and not self.text:
            finish = "content_filter"
        return ModelResponse(
            self.text or self.refusal, calls, _usage(usage), finish, str(head.get("model") or request.model), _id(head)
        )


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": tool_text(message)}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    # A malformed call goes back without arguments: several servers parse the text and refuse what is no object.
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


def _raw_call(call: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return call.get("id"), function.get("name"), function.get("arguments")


def _choice(data: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = data.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _id(data: Mapping[str, Any]) -> str | None:
    return str(data["id"]) if data.get("id") else None


def _raise_fault(data: Mapping[str, Any]) -> None:
    if data.get("error"):
        raise ServerFault(data["error"])
    if data.get("finish_reason") == "error":
        raise ServerFault({"message": "the model behind it failed"})


def _usage(usage: Any) -> Usage:
    return Usage(
        count(usage, "prompt_tokens"),
        count(usage, "completion_tokens"),
        count(usage, "prompt_tokens_details", "cached_tokens"),
        count(usage, "completion_tokens_details", "reasoning_tokens"),
        1,
    )
