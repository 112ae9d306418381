"""Answers of Chat Completions, whole and streamed.

Servers differ in what they leave out, so answers are read as plain JSON and nothing but the text is taken for granted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from opspawn.agentkit.providing import BrokenAnswer, ServerFault, count, read_calls
from opspawn.contracts.model import (
    Called,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    OnDelta,
    Part,
    Reasoning,
    Text,
    Usage,
)
from opspawn_model_openai.dialect import VENDOR

_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
#: The same thing under two names: DeepSeek and llama.cpp say the first, Ollama, vLLM and OpenRouter the second.
_THOUGHTS = ("reasoning_content", "reasoning")


def whole_answer(request: ModelRequest, data: Mapping[str, Any]) -> ModelResponse:
    """Read an answer that came whole. Raises: ServerFault, BrokenAnswer."""
    _raise_fault(data)
    choice = _choice(data)
    message = choice.get("message") if choice else None
    if choice is None or not isinstance(message, dict):
        raise BrokenAnswer("its answer holds no message", foreign=True)
    _raise_fault(choice)
    answer = _Answer(_text(message.get("content")), _text(message.get("refusal")), finish=choice.get("finish_reason"))
    answer.calls = [_raw_call(call) for call in message.get("tool_calls") or () if isinstance(call, dict)]
    _think(answer, message)
    return answer.response(request, data, data.get("usage"))


class ChatReader:
    """Puts the chunks of a chat completion together."""

    def __init__(self, request: ModelRequest, on_delta: OnDelta) -> None:
        self._request = request
        self._on_delta = on_delta
        self._head: dict[str, Any] = {}
        self._usage: Any = None
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._thoughts: list[str] = []
        self._thoughts_field = ""
        self._details: list[Any] = []
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
        for name in _THOUGHTS:
            if thought := _text(delta.get(name)):
                self._thoughts.append(thought)
                self._thoughts_field = name
                self._on_delta(ModelDelta("reasoning", thought))
                break
        self._details += delta.get("reasoning_details") or ()
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
        answer = _Answer("".join(self._text), "".join(self._refusal), finish=self._finish)
        answer.calls = [(call.id, call.name, "".join(call.arguments)) for call in self._calls]
        answer.thoughts, answer.thoughts_field = "".join(self._thoughts), self._thoughts_field
        answer.details = _joined(self._details)
        return answer.response(self._request, self._head, self._usage)


@dataclass(slots=True)
class _PartialCall:
    index: Any
    id: Any = None
    name: Any = None
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Answer:
    text: str
    refusal: str
    calls: list[tuple[Any, Any, Any]] = field(default_factory=list)
    finish: Any = None
    thoughts: str = ""
    thoughts_field: str = ""
    details: list[Any] = field(default_factory=list)

    def response(self, request: ModelRequest, head: Mapping[str, Any], usage: Any) -> ModelResponse:
        calls = read_calls(request, self.calls)
        # Several servers say "stop" after tool calls; whether there are calls is what counts.
        finish = _FINISH.get(str(self.finish), "tool_calls" if calls else "stop")
        if self.refusal and not self.text:
            finish = "content_filter"
        text = self.text or self.refusal
        parts: tuple[Part, ...] = ()
        if self.thoughts or self.details:
            data: dict[str, Any] = {"field": self.thoughts_field} if self.thoughts else {}
            data |= {"details": self.details} if self.details else {}
            said = (Text(text),) if text else ()
            parts = (
                Reasoning(self.thoughts, VENDOR, request.model, data), *said, *(Called(call.id) for call in calls)
            )  # fmt: skip
        model = str(head.get("model") or request.model)
        return ModelResponse(text, calls, _usage(usage), finish, model, _id(head), parts)


def _think(answer: _Answer, message: Mapping[str, Any]) -> None:
    answer.thoughts_field = next((name for name in _THOUGHTS if _text(message.get(name))), "")
    answer.thoughts = _text(message.get(answer.thoughts_field))
    answer.details = [detail for detail in message.get("reasoning_details") or () if isinstance(detail, dict)]


def _joined(pieces: list[Any]) -> list[Any]:
    """OpenRouter's details of reasoning, each put together from its pieces, which have one index and type."""
    whole: list[dict[str, Any]] = []
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        last = whole[-1] if whole else {}
        if last.get("type") != piece.get("type") or last.get("index") != piece.get("index"):
            whole.append(dict(piece))
            continue
        for key, value in piece.items():
            if key in ("text", "summary", "data") and isinstance(last.get(key), str) and isinstance(value, str):
                last[key] += value
            elif value is not None:
                last[key] = value
    return whole


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
        count(usage, "prompt_tokens_details", "cache_write_tokens"),
        _cost(usage),
    )


def _cost(usage: Any) -> Decimal | None:
    """What the call cost in US dollars, where the server itself says it, as OpenRouter does."""
    cost = usage.get("cost") if isinstance(usage, dict) else None
    if isinstance(cost, bool) or not isinstance(cost, (int, float, str)):
        return None
    try:
        value = Decimal(str(cost))
    except InvalidOperation:
        return None
    return value if value.is_finite() and value >= 0 else None
