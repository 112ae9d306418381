"""Answers of the Messages protocol, whole and streamed, read as plain JSON: other servers leave things out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from opspawn_model_anthropic.blocks import VENDOR
from opspawn_model_anthropic.schemas import OUTPUT_TOOL, unwrapped

_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


@dataclass(slots=True)
class _Block:
    """A block of the answer as it grows; `pieces` are of its text, its thought or its arguments."""

    kind: str
    start: Mapping[str, Any]
    pieces: list[str] = field(default_factory=list)
    signature: str = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def whole_answer(request: ModelRequest, data: Mapping[str, Any], *, output_tool: bool) -> ModelResponse:
    """Read an answer that came whole. Raises: ServerFault, BrokenAnswer."""
    if data.get("type") == "error" or data.get("error"):
        raise ServerFault(data)
    content = data.get("content")
    if not isinstance(content, list):
        raise BrokenAnswer("its answer holds no content", foreign=True)
    blocks = []
    for item in content:
        if isinstance(item, dict):
            block = _Block(str(item.get("type")), item, signature=str(item.get("signature") or ""))
            block.pieces.append(str(item.get("text") or item.get("thinking") or ""))
            blocks.append(block)
    return _response(request, blocks, data, data.get("usage"), data.get("stop_reason"), output_tool=output_tool)


class Reader:
    """Puts the events of a streamed answer together, and hands pieces on as they come."""

    def __init__(self, request: ModelRequest, on_delta: OnDelta, *, output_tool: bool) -> None:
        self._request = request
        self._on_delta = on_delta
        self._output_tool = output_tool
        self._head: Mapping[str, Any] = {}
        self._blocks: dict[Any, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._stop: Any = None
        self._ended = False

    def feed(self, event: Mapping[str, Any]) -> None:
        """Take the next event. Raises: ServerFault."""
        kind = event.get("type")
        if kind == "error" or (event.get("error") and kind is None):
            raise ServerFault(event)
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self._head = event["message"]
            self._count(self._head.get("usage"))
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            start = event["content_block"]
            self._blocks[event.get("index")] = _Block(str(start.get("type")), start)
            self._piece(event.get("index"), str(start.get("text") or start.get("thinking") or ""))
        elif kind == "content_block_delta" and isinstance(event.get("delta"), dict):
            self._delta(event.get("index"), event["delta"])
        elif kind == "message_delta":
            self._count(event.get("usage"))
            self._stop = (event.get("delta") or {}).get("stop_reason") or self._stop
        elif kind == "message_stop":
            self._ended = True

    def _delta(self, index: Any, delta: Mapping[str, Any]) -> None:
        if delta.get("type") == "signature_delta" and index in self._blocks:
            self._blocks[index].signature += str(delta.get("signature") or "")
            return
        for key in ("text", "thinking", "partial_json"):
            if piece := delta.get(key):
                self._piece(index, str(piece))

    def _piece(self, index: Any, text: str) -> None:
        block = self._blocks.get(index)
        if block is None or not text:
            return
        block.pieces.append(text)
        if block.kind == "text":
            self._on_delta(ModelDelta("text", text))
        elif block.kind == "thinking":
            self._on_delta(ModelDelta("reasoning", text))
        elif block.kind == "tool_use" and self._output_tool and block.start.get("name") == OUTPUT_TOOL:
            self._on_delta(ModelDelta("text", text))
        elif block.kind == "tool_use":
            self._on_delta(ModelDelta("tool_call", text, tool=str(block.start.get("name") or "") or None))

    def _count(self, usage: Any) -> None:
        # The figures at the end are totals; those of the input stand only at the begin, with most servers.
        if isinstance(usage, dict):
            self._usage |= {key: value for key, value in usage.items() if value is not None}

    def finish(self) -> ModelResponse:
        """The whole answer, at the end of the stream. Raises: BrokenAnswer, if the protocol's own end was missing."""
        if not self._ended and self._stop is None:
            raise BrokenAnswer("its stream ended before the answer was complete")
        blocks = list(self._blocks.values())
        return _response(self._request, blocks, self._head, self._usage, self._stop, output_tool=self._output_tool)


def _response(
    request: ModelRequest, blocks: list[_Block], head: Mapping[str, Any], usage: Any, stop: Any, *, output_tool: bool
) -> ModelResponse:
    uses = [block for block in blocks if block.kind == "tool_use"]
    given = [block for block in uses if output_tool and block.start.get("name") == OUTPUT_TOOL]
    uses = [block for block in uses if block not in given]
    calls = read_calls(request, [(block.start.get("id"), block.start.get("name"), _arguments(block)) for block in uses])
    parts: list[Part] = []
    left = iter(calls)
    for block in blocks:
        if block.kind == "text":
            parts.append(Text(block.text))
        elif block.kind in ("thinking", "redacted_thinking"):
            parts.append(_thought(request, block))
        elif block in uses:
            parts.append(Called(next(left).id))
    if given and not calls:
        parts = [*(part for part in parts if isinstance(part, Reasoning)), Text(_given(request, given[0]))]
    finish = _FINISH.get(str(stop), "tool_calls" if calls else "stop")
    return ModelResponse(
        "".join(part.text for part in parts if isinstance(part, Text)),
        calls,
        _usage(usage),
        finish,
        str(head.get("model") or request.model),
        str(head["id"]) if head.get("id") else None,
        tuple(parts) if any(isinstance(part, Reasoning) for part in parts) else (),
    )


def _arguments(block: _Block) -> Any:
    """The text that streamed in, or what stood in the block at once."""
    return block.text if block.text.strip() else block.start.get("input")


def _given(request: ModelRequest, block: _Block) -> str:
    """The answer that came as the arguments of a tool, as text."""
    (call,) = read_calls(request, [(None, OUTPUT_TOOL, _arguments(block))])
    if call.malformed is not None or request.output_schema is None:
        return call.malformed or ""
    return json.dumps(unwrapped(request.output_schema, call.arguments), ensure_ascii=False)


def _thought(request: ModelRequest, block: _Block) -> Reasoning:
    if block.kind == "redacted_thinking":
        return Reasoning("", VENDOR, request.model, {"redacted": block.start.get("data") or ""})
    return Reasoning(block.text, VENDOR, request.model, {"signature": block.signature})


def _usage(usage: Any) -> Usage:
    """The figures as everybody counts them: here what was read from or written to a cache is not part of the input."""
    read, written = count(usage, "cache_read_input_tokens"), count(usage, "cache_creation_input_tokens")
    return Usage(
        count(usage, "input_tokens") + read + written,
        count(usage, "output_tokens"),
        read,
        count(usage, "output_tokens_details", "thinking_tokens"),
        1,
        written,
    )
