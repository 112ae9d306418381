"""Answers of the Anthropic protocol from the server's side, whole and streamed.

Written after the public reference and after what the official client accepts. Requests are read in `requests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from opspawn.testing.model_server.steps import Answer
from opspawn.testing.model_server.wire import Frame, call_ids, pieces, seal, usage_of

_STOP = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}

_EMPTY: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


def whole_message(request: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """A whole `message`."""
    content = [
        {**block, "input": _value(block["input"])} if "input" in block else block for block in _blocks(request, answer)
    ]
    whole = {**_head(request), "content": content, "stop_reason": _STOP[answer.finish], "stop_sequence": None}
    return whole if answer.omit_usage else whole | {"usage": _usage(request, answer)}


def frames(request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
    """The stream of a message: an event per change, the output's figures in the last but one."""
    begun = {**_head(request), "content": [], "stop_reason": None, "stop_sequence": None}
    usage = _usage(request, answer)
    if not answer.omit_usage:
        begun["usage"] = {**usage, "output_tokens": 1, "output_tokens_details": None}
    yield Frame({"type": "message_start", "message": begun})
    yield Frame({"type": "ping"})
    for index, block in enumerate(_blocks(request, answer)):
        begun = block | _EMPTY[block["type"]]
        yield Frame({"type": "content_block_start", "index": index, "content_block": begun})
        for delta, piece in _deltas(block):
            yield Frame({"type": "content_block_delta", "index": index, "delta": delta}, piece)
        yield Frame({"type": "content_block_stop", "index": index})
    last: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _STOP[answer.finish], "stop_sequence": None},
    }
    if not answer.omit_usage:
        last["usage"] = {key: usage[key] for key in ("output_tokens", "output_tokens_details")}
    yield Frame(last)
    yield Frame({"type": "message_stop"})


def _head(request: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"msg_{request['n']}", "type": "message", "role": "assistant", "model": request["model"]}


def _blocks(request: dict[str, Any], answer: Answer) -> list[dict[str, Any]]:
    """The content, with the arguments of calls still as the script's text."""
    blocks: list[dict[str, Any]] = []
    if answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": seal(answer.reasoning)})
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    for id, (name, raw) in zip(call_ids(request, answer, "toolu_"), answer.calls, strict=True):
        block = {"type": "tool_use", "name": name, "input": raw}
        blocks.append({"id": id, **block} if id else block)
    return blocks


def _deltas(block: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    if block["type"] == "thinking":
        for piece in pieces(block["thinking"]):
            yield {"type": "thinking_delta", "thinking": piece}, True
        yield {"type": "signature_delta", "signature": block["signature"]}, False
    elif block["type"] == "text":
        for piece in pieces(block["text"]):
            yield {"type": "text_delta", "text": piece}, True
    else:
        yield {"type": "input_json_delta", "partial_json": ""}, False
        for piece in pieces(block["input"]):
            yield {"type": "input_json_delta", "partial_json": piece}, True


def _value(raw: str) -> Any:
    """What the real server makes of arguments before it sends them whole; a text where they are no JSON."""
    try:
        return json.loads(raw) if raw.strip() else {}
    except ValueError:
        return raw


def _usage(request: dict[str, Any], answer: Answer) -> dict[str, Any]:
    usage = usage_of(request, answer)
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": "standard",
    }
