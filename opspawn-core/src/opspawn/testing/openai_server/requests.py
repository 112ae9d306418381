"""Requests as a server reads them: refused roughly as the real one does, else given one shape for both dialects."""

from __future__ import annotations

import re
from typing import Any

from opspawn.testing.model_server.wire import BadRequest, seal

_INPUTS = ("input_text", "output_text", "input_image", "input_file", "refusal")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
#: What belongs to the other dialect, and is refused by the real server as an unknown parameter.
_FOREIGN = {
    "chat": ("input", "instructions", "max_output_tokens", "text", "reasoning", "include"),
    "responses": (
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "response_format",
        "reasoning_effort",
        "stream_options",
    ),
}


def read_request(dialect: str, body: Any) -> dict[str, Any]:
    """Return `{dialect, model, messages, tools, stream, body}`; messages and tools look alike in both dialects.

    Raises:
        BadRequest: the real server would not take it.
    """
    if not isinstance(body, dict):
        raise BadRequest("We could not parse the JSON body of your request.")
    for name in _FOREIGN[dialect]:
        if name in body:
            raise BadRequest(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequest("you must provide a model parameter", "model")
    tools = [_tool(dialect, tool, f"tools[{index}]") for index, tool in enumerate(body.get("tools") or [])]
    if dialect == "chat":
        messages = _chat_messages(body.get("messages"))
        _output_format(body.get("response_format"), "response_format", "json_schema")
    else:
        messages = _input_items(body.get("input"))
        _output_format((body.get("text") or {}).get("format"), "text.format", None)
    return {
        "dialect": dialect,
        "model": body["model"],
        "messages": messages,
        "tools": tools,
        "stream": bool(body.get("stream")),
        "body": body,
    }


def _tool(dialect: str, tool: Any, at: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise BadRequest(f"Invalid value for '{at}.type'.", f"{at}.type")
    function = tool.get("function") if dialect == "chat" else tool
    if not isinstance(function, dict):
        raise BadRequest(
            f"Missing required parameter: '{at}.function'.", f"{at}.function", "missing_required_parameter"
        )
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadRequest(f"Invalid '{at}.name': expected a string of 1 to 64 of a-z, A-Z, 0-9, '_', '-'.", f"{at}.name")
    parameters = function.get("parameters")
    # The Responses dialect is strict unless told otherwise, chat only if told.
    if function.get("strict", dialect == "responses"):
        _strict(parameters, f"function '{name}'", f"{at}.parameters")
    return {"name": name, "description": function.get("description", ""), "parameters": parameters}


def _output_format(wanted: Any, at: str, nested: str | None) -> None:
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return
    held = wanted.get(nested) if nested else wanted
    if not isinstance(held, dict) or not isinstance(held.get("schema"), dict) or not held.get("name"):
        raise BadRequest(f"Missing required parameter: '{at}.schema' or '{at}.name'.", at, "missing_required_parameter")
    if held.get("strict"):
        _strict(held["schema"], f"{at.replace('.', '_')} '{held['name']}'", at)


def _strict(schema: Any, what: str, param: str) -> None:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise BadRequest(
            f"Invalid schema for {what}: schema must have type 'object'.", param, "invalid_function_parameters"
        )
    if schema.get("additionalProperties") is not False:
        text = f"Invalid schema for {what}: 'additionalProperties' is required to be supplied and to be false."
        raise BadRequest(text, param, "invalid_json_schema")
    if set(schema.get("required") or ()) != set(schema.get("properties") or ()):
        text = f"Invalid schema for {what}: 'required' is required to be an array including every key in properties."
        raise BadRequest(text, param, "invalid_json_schema")


def _chat_messages(raw: Any) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not raw:
        raise BadRequest("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    messages: list[dict[str, Any]] = []
    open_calls: set[str] = set()
    for index, entry in enumerate(raw):
        at = f"messages[{index}]"
        role = entry.get("role") if isinstance(entry, dict) else None
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise BadRequest(f"Invalid value for '{at}.role'.", f"{at}.role", "invalid_value")
        if role == "tool":
            if entry.get("tool_call_id") not in open_calls:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise BadRequest(f"Invalid parameter: {text}", f"{at}.role")
            open_calls.discard(entry["tool_call_id"])
            result = _entry("tool", entry["content"], f"{at}.content", ("text",))
            messages.append(result | {"tool_call_id": entry["tool_call_id"]})
            continue
        _all_answered(open_calls, at)
        calls = [_chat_call(call, at) for call in entry.get("tool_calls") or ()]
        if not isinstance(entry.get("content"), (str, list)) and not calls:
            raise BadRequest(f"Invalid value for '{at}.content': expected a string, got null.", f"{at}.content")
        open_calls = {call["id"] for call in calls}
        kinds = ("text", "image_url", "file") if role == "user" else ("text", "refusal")
        thoughts = [entry[key] for key in ("reasoning_content", "reasoning", "reasoning_details") if entry.get(key)]
        message = _entry(role, entry.get("content") or "", f"{at}.content", kinds)
        messages.append(message | {"tool_calls": calls, "reasoning": thoughts})
    _all_answered(open_calls, "messages")
    return messages


def _chat_call(call: Any, at: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not call.get("id") or call.get("type") != "function":
        raise BadRequest(f"Invalid value for '{at}.tool_calls'.", f"{at}.tool_calls")
    if not isinstance(function.get("arguments"), str) or not function.get("name"):
        raise BadRequest(f"Invalid type for '{at}.tool_calls[].function.arguments': expected a string.", at)
    return {"id": call["id"], "name": function["name"], "arguments": function["arguments"]}


def _all_answered(open_calls: set[str], at: str) -> None:
    if open_calls:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each of them."
        raise BadRequest(f"{text} The following tool_call_ids did not have response messages: {sorted(open_calls)}", at)


def _input_items(raw: Any) -> list[dict[str, Any]]:
    if isinstance(raw, str) and raw:
        return [_entry("user", raw, "input", ())]
    if not isinstance(raw, list) or not raw:
        raise BadRequest("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    messages: list[dict[str, Any]] = []
    thoughts: list[str] = []
    called: set[str] = set()
    answered: set[str] = set()
    for index, item in enumerate(raw):
        kind = item.get("type", "message") if isinstance(item, dict) else None
        at = f"input[{index}]"
        if kind == "message" and item.get("role") in ("system", "developer", "user", "assistant"):
            message = _entry(item["role"], item.get("content"), f"{at}.content", _INPUTS)
            messages.append(message | {"reasoning": thoughts})
            thoughts = []
        elif kind == "function_call":
            call = _item_call(item, index)
            called.add(call["id"])
            # A message and the calls that follow it are one turn of the assistant.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append(_entry("assistant", "", at, ()))
            messages[-1]["tool_calls"].append(call)
            messages[-1]["reasoning"] += thoughts
            thoughts = []
        elif kind == "function_call_output":
            if item.get("call_id") not in called:
                raise BadRequest(
                    f"No tool call found for function call output with call_id {item.get('call_id')}.", "input"
                )
            answered.add(item["call_id"])
            result = _entry("tool", item.get("output"), f"{at}.output", _INPUTS)
            messages.append(result | {"tool_call_id": item["call_id"]})
        elif kind == "reasoning":
            thoughts.append(_sealed(item, at))
        else:
            raise BadRequest(f"Invalid value: '{at}'.", at, "invalid_value")
    if thoughts:
        raise BadRequest("Item of type 'reasoning' was provided without its required following item.", "input")
    for id in sorted(called - answered):
        raise BadRequest(f"No tool output found for function call {id}.", "input")
    return messages


def _item_call(item: dict[str, Any], index: int) -> dict[str, Any]:
    if item.get("id"):
        # Without storage the real server no longer knows its own ids, and asks for the reasoning that went with them.
        text = f"Item '{item['id']}' of type 'function_call' was provided without its required 'reasoning' item."
        raise BadRequest(text, "input")
    if not item.get("call_id") or not item.get("name") or not isinstance(item.get("arguments"), str):
        raise BadRequest(
            f"Missing required parameter in 'input[{index}]'.", f"input[{index}]", "missing_required_parameter"
        )
    return {"id": item["call_id"], "name": item["name"], "arguments": item["arguments"]}


def _sealed(item: dict[str, Any], at: str) -> str:
    text = "".join(part["text"] for part in item.get("summary") or ())
    if item.get("id") or item.get("encrypted_content") != seal(text):
        raise BadRequest("The encrypted content could not be verified.", f"{at}.encrypted_content")
    return text


def _entry(role: str, content: Any, at: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """A message in the one shape for all protocols, with its text, and how many images and files it shows."""
    entry: dict[str, Any] = {"role": role, "content": "", "images": 0, "files": 0, "tool_calls": [], "reasoning": []}
    if isinstance(content, str):
        return entry | {"content": content}
    if not isinstance(content, list):
        raise BadRequest(f"Invalid type for '{at}'.", at, "invalid_type")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in kinds:
            raise BadRequest(f"Invalid value: '{kind}' at '{at}'. Supported values are: {', '.join(kinds)}.", at)
        if "image" in kind:
            url = part["image_url"]["url"] if kind == "image_url" else part.get("image_url")
            _address(url, at)
            entry["images"] += 1
        elif "file" in kind:
            held = part.get("file") if kind == "file" else part
            _address(held.get("file_data") or held.get("file_url"), at)
            entry["files"] += 1
        else:
            entry["content"] += str(part.get("text", ""))
    return entry


def _address(url: Any, at: str) -> None:
    if not re.match(r"https?://|data:[a-z]+/[a-z0-9.+-]+;base64,[A-Za-z0-9+/]+=*$", str(url)):
        raise BadRequest("Invalid URL: expected an address, or base64 data with its type.", at, "invalid_value")
