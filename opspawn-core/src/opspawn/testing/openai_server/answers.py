"""The two dialects of the OpenAI protocol, from the server's side: what answers look like, whole and streamed.

Written after the public reference and after what the official client accepts. Requests are read in `requests`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from opspawn.contracts.model import Usage
from opspawn.testing.model_server.steps import Answer
from opspawn.testing.model_server.wire import Frame, call_ids, pieces, seal, usage_of


def _chat_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _chat_calls(request: dict[str, Any], answer: Answer) -> list[dict[str, Any]]:
    calls = []
    for id, (name, raw) in zip(call_ids(request, answer), answer.calls, strict=True):
        call = {"type": "function", "function": {"name": name, "arguments": raw}}
        calls.append({"id": id, **call} if id else call)
    return calls


def chat_answer(request: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """A whole `chat.completion`."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if answer.calls:
        message["tool_calls"] = _chat_calls(request, answer)
    whole = {
        "id": f"chatcmpl-{request['n']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
    }
    return whole if answer.omit_usage else whole | {"usage": _chat_usage(usage_of(request, answer))}


def chat_frames(request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
    """The stream of a chat completion; the figures come last, and only if the request asked for them."""
    head = {
        "id": f"chatcmpl-{request['n']}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": request["model"],
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, *, piece: bool = False) -> Frame:
        return Frame(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}, piece)

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(answer.reasoning):
        yield chunk({"reasoning_content": piece}, piece=True)
    for piece in pieces(answer.text):
        yield chunk({"content": piece}, piece=True)
    for index, call in enumerate(_chat_calls(request, answer)):
        function = call["function"]
        first = call | {"index": index, "function": {"name": function["name"], "arguments": ""}}
        yield chunk({"tool_calls": [first]})
        for piece in pieces(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, piece=True)
    yield chunk({}, answer.finish)
    if not answer.omit_usage and (request["body"].get("stream_options") or {}).get("include_usage"):
        yield Frame(head | {"choices": [], "usage": _chat_usage(usage_of(request, answer))})
    yield Frame(None)


def _items(request: dict[str, Any], answer: Answer) -> list[dict[str, Any]]:
    """The output items of a response: reasoning, message, function calls."""
    n = request["n"]
    items: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        item = {"type": "reasoning", "id": f"rs_{n}", "summary": summary}
        sealed = "reasoning.encrypted_content" in (request["body"].get("include") or ())
        items.append(item | {"encrypted_content": seal(answer.reasoning)} if sealed else item)
    if answer.text or not answer.calls:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        items.append(
            {"type": "message", "id": f"msg_{n}", "status": "completed", "role": "assistant", "content": [part]}
        )
    for index, (id, (name, raw)) in enumerate(zip(call_ids(request, answer), answer.calls, strict=True)):
        item = {"type": "function_call", "id": f"fc_{n}_{index}", "status": "completed", "name": name, "arguments": raw}
        items.append(item | {"call_id": id} if id else item)
    return items


def responses_answer(request: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """A whole `response`."""
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
    usage = usage_of(request, answer)
    figures = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    return {
        "id": f"resp_{request['n']}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if cut else "completed",
        "error": None,
        "incomplete_details": {"reason": cut} if cut else None,
        "model": request["model"],
        "output": _items(request, answer),
        "usage": None if answer.omit_usage else figures,
    }


def responses_frames(request: dict[str, Any], answer: Answer) -> Iterator[Frame]:
    """The stream of a response: an event per change, numbered, the whole response in the last."""
    for number, frame in enumerate(_response_events(responses_answer(request, answer))):
        yield Frame((frame.data or {}) | {"sequence_number": number}, frame.piece)


def _response_events(whole: dict[str, Any]) -> Iterator[Frame]:
    begun = whole | {"status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
    yield Frame({"type": "response.created", "response": begun})
    yield Frame({"type": "response.in_progress", "response": begun})
    for index, item in enumerate(whole["output"]):
        empty = {"reasoning": {"summary": []}, "message": {"content": []}, "function_call": {"arguments": ""}}
        added = item | empty[item["type"]] | ({} if item["type"] == "reasoning" else {"status": "in_progress"})
        yield Frame({"type": "response.output_item.added", "output_index": index, "item": added})
        yield from _item_events(item, {"item_id": item["id"], "output_index": index})
        yield Frame({"type": "response.output_item.done", "output_index": index, "item": item})
    yield Frame({"type": f"response.{whole['status']}", "response": whole})


def _item_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[Frame]:
    if item["type"] == "function_call":
        name = "response.function_call_arguments"
        for piece in pieces(item["arguments"]):
            yield Frame({"type": f"{name}.delta", **at, "delta": piece}, piece=True)
        yield Frame({"type": f"{name}.done", **at, "name": item["name"], "arguments": item["arguments"]})
        return
    if item["type"] == "message":
        part, prefix, text = item["content"][0], "response.content_part", "response.output_text"
        at = at | {"content_index": 0}
    else:
        part, prefix = item["summary"][0], "response.reasoning_summary_part"
        text = "response.reasoning_summary_text"
        at = at | {"summary_index": 0}
    yield Frame({"type": f"{prefix}.added", **at, "part": part | {"text": ""}})
    for piece in pieces(part["text"]):
        yield Frame({"type": f"{text}.delta", **at, "delta": piece}, piece=True)
    yield Frame({"type": f"{text}.done", **at, "text": part["text"]})
    yield Frame({"type": f"{prefix}.done", **at, "part": part})
