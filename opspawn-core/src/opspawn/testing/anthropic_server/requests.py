"""Requests of the Anthropic protocol as a server reads them: refused roughly as the real one does."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from opspawn.testing.model_server.wire import BadRequest, seal

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_KNOWN = {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "thinking", "output_config"}
_KNOWN |= {"stop_sequences", "metadata", "service_tier", "cache_control", "speed", "container", "inference_geo"}
_SAMPLING = {"temperature", "top_p", "top_k"}


def read_request(body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return `{dialect, model, messages, tools, stream, body}`; results of tools as messages of the role "tool".

    Raises:
        BadRequest: the real server would not take it.
    """
    if not isinstance(body, dict):
        raise BadRequest("The request body is not valid JSON.")
    version = headers.get("anthropic-version")
    if not version:
        raise BadRequest("anthropic-version: header is required")
    known = _KNOWN | (_SAMPLING if version < "2026-10-21" else set())
    for name in body:
        if name not in known:
            raise BadRequest("Extra inputs are not permitted", name)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequest("Field required", "model")
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        raise BadRequest("Field required", "max_tokens")
    tools = [_tool(tool, index) for index, tool in enumerate(body.get("tools") or [])]
    _output_format((body.get("output_config") or {}).get("format"))
    messages = _system(body.get("system")) + _messages(body.get("messages"))
    _thinking(body, messages)
    _cache_marks(body)
    return {
        "dialect": "messages",
        "model": body["model"],
        "messages": messages,
        "tools": tools,
        "stream": bool(body.get("stream")),
        "body": body,
    }


def _tool(tool: Any, index: int) -> dict[str, Any]:
    at = f"tools.{index}"
    if not isinstance(tool, dict) or not _NAME.fullmatch(str(tool.get("name"))):
        raise BadRequest("String should match pattern '^[a-zA-Z0-9_-]{1,128}$'", f"{at}.name")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise BadRequest("Input should be 'object'", f"{at}.input_schema.type")
    return {"name": tool["name"], "description": tool.get("description", ""), "parameters": schema}


def _output_format(wanted: Any) -> None:
    if wanted is None:
        return
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise BadRequest("Input should be a valid JSON schema", "output_config.format")
    _closed(schema)


def _closed(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _closed(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            text = "For 'object' type, 'additionalProperties' must be explicitly set to false"
            raise BadRequest(text, "output_config.format.schema")
        for part in schema.values():
            _closed(part)


def _system(raw: Any) -> list[dict[str, Any]]:
    if raw is None:
        return []
    text = raw if isinstance(raw, str) else "\n\n".join(block["text"] for block in raw)
    if not text:
        raise BadRequest("text content blocks must be non-empty", "system")
    return [_entry("system", text)]


def _messages(raw: Any) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not raw:
        raise BadRequest("at least one message is required", "messages")
    messages: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for index, entry in enumerate(raw):
        at = f"messages.{index}"
        role = entry.get("role") if isinstance(entry, dict) else None
        if role not in ("user", "assistant"):
            raise BadRequest("Input should be 'user' or 'assistant'", f"{at}.role")
        if index == 0 and role != "user":
            raise BadRequest("first message must use the user role", at)
        content = entry.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list) or not blocks:
            raise BadRequest("content must be non-empty", at)
        results = [block for block in blocks if block.get("type") == "tool_result"]
        missing = [id for id in open_calls if id not in [block.get("tool_use_id") for block in results]]
        if missing:
            text = "`tool_use` ids were found without `tool_result` blocks immediately after"
            raise BadRequest(f"{text}: {', '.join(missing)}", at)
        if any(block.get("tool_use_id") not in open_calls for block in results):
            raise BadRequest("unexpected `tool_use_id` found in `tool_result` blocks", at)
        messages += [_result(block, at) for block in results]
        rest = [block for block in blocks if block.get("type") != "tool_result"]
        if rest or role == "assistant":
            messages.append(_turn(role, rest, at))
        open_calls = [call["id"] for call in messages[-1]["tool_calls"]] if role == "assistant" else []
    if open_calls:
        raise BadRequest("`tool_use` ids were found without `tool_result` blocks immediately after", "messages")
    return messages


def _entry(role: str, text: str = "") -> dict[str, Any]:
    return {"role": role, "content": text, "images": 0, "files": 0, "tool_calls": [], "reasoning": []}


def _result(block: dict[str, Any], at: str) -> dict[str, Any]:
    content = block.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
    entry = _turn("tool", blocks, at)
    return entry | {"tool_call_id": block["tool_use_id"], "is_error": bool(block.get("is_error"))}


def _turn(role: str, blocks: list[dict[str, Any]], at: str) -> dict[str, Any]:
    entry = _entry(role)
    for number, block in enumerate(blocks):
        place, kind = f"{at}.content.{number}", block.get("type")
        if kind == "text":
            if not block.get("text"):
                raise BadRequest("text content blocks must be non-empty", place)
            entry["content"] += block["text"]
        elif kind == "image" and role != "assistant":
            _source(block.get("source"), place, _IMAGES)
            entry["images"] += 1
        elif kind == "document" and role != "assistant":
            _source(block.get("source"), place, ("application/pdf",))
            entry["files"] += 1
        elif kind == "tool_use" and role == "assistant":
            entry["tool_calls"].append(_call(block, place))
        elif kind == "thinking" and role == "assistant":
            if block.get("signature") != seal(block.get("thinking", "")):
                raise BadRequest("Invalid `signature` in `thinking` block", place)
            entry["reasoning"].append(block["thinking"])
        elif kind == "redacted_thinking" and role == "assistant":
            entry["reasoning"].append(block["data"])
        else:
            raise BadRequest(f"Input tag '{kind}' found using 'type' does not match any of the expected tags", place)
    return entry


def _call(block: dict[str, Any], at: str) -> dict[str, Any]:
    if not _ID.fullmatch(str(block.get("id"))):
        raise BadRequest("String should match pattern '^[a-zA-Z0-9_-]+$'", f"{at}.id")
    if not isinstance(block.get("input"), dict) or not block.get("name"):
        raise BadRequest("Input should be a valid dictionary", f"{at}.input")
    return {"id": block["id"], "name": block["name"], "arguments": json.dumps(block["input"], ensure_ascii=False)}


def _source(source: Any, at: str, types: tuple[str, ...]) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        if source.get("media_type") not in types:
            raise BadRequest(f"Input should be {' or '.join(types)}", f"{at}.source.media_type")
        try:
            base64.b64decode(source["data"], validate=True)
        except (binascii.Error, ValueError, KeyError):
            raise BadRequest("Invalid base64 data", f"{at}.source.data") from None
    elif kind == "url":
        if not str(source.get("url")).startswith(("http://", "https://")):
            raise BadRequest("Only HTTP URLs are supported", f"{at}.source.url")
    elif not (kind == "text" and source.get("media_type") == "text/plain" and source.get("data")):
        raise BadRequest("Input should be a valid source", f"{at}.source")


def _thinking(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    wanted = body.get("thinking") or {}
    if wanted.get("type") not in ("enabled", "adaptive"):
        return
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise BadRequest("Thinking may not be enabled when tool_choice forces tool use.")
    if wanted["type"] == "adaptive":
        return
    if wanted.get("budget_tokens", 0) < 1024 or body["max_tokens"] <= wanted["budget_tokens"]:
        raise BadRequest("`max_tokens` must be greater than `thinking.budget_tokens`")
    last = max((n for n, one in enumerate(messages) if one["role"] == "user"), default=0)
    for one in messages[last:]:
        if one["role"] == "assistant" and one["tool_calls"] and not one["reasoning"]:
            raise BadRequest("Expected `thinking` or `redacted_thinking`, but found `tool_use`.", "messages")


def _cache_marks(body: dict[str, Any]) -> None:
    marks = _marks([body.get("tools"), body.get("system"), body.get("messages")])
    if len(marks) > 4:
        raise BadRequest(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    if any(block.get("type") in ("thinking", "redacted_thinking") for block in marks):
        raise BadRequest("cache_control: Extra inputs are not permitted on thinking blocks")


def _marks(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [mark for part in value for mark in _marks(part)]
    if not isinstance(value, dict):
        return []
    inner = [mark for key, part in value.items() if key not in ("input", "input_schema") for mark in _marks(part)]
    return [value, *inner] if value.get("cache_control") else inner
