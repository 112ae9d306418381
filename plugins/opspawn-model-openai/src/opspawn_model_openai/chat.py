"""Chat Completions: what Ollama, vLLM, llama.cpp, OpenRouter and most others speak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opspawn.agentkit.providing import with_settings
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, OnDelta, Part, Reasoning, Text
from opspawn_model_openai.chat_answers import ChatReader, whole_answer
from opspawn_model_openai.content import chat_part, shown, tool_words
from opspawn_model_openai.dialect import RESERVED, VENDOR, is_strict
from opspawn_model_openai.servers import Server


class ChatDialect:
    """Chat Completions, with what is peculiar to the server."""

    path = "/chat/completions"

    def __init__(self, server: Server) -> None:
        self._server = server

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send. Raises: ModelError: a setting, image or file that cannot be passed on."""
        body: dict[str, Any] = {"model": request.model, "messages": list(self._messages(request))}
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
        return with_settings(body, self._settings(request.settings), RESERVED)

    def answer(self, request: ModelRequest, data: Mapping[str, Any]) -> ModelResponse:
        """Read an answer that came whole."""
        return whole_answer(request, data)

    def reader(self, request: ModelRequest, on_delta: OnDelta) -> ChatReader:
        """Make a reader for one streamed answer."""
        return ChatReader(request, on_delta)

    def _messages(self, request: ModelRequest) -> Iterator[dict[str, Any]]:
        """The conversation. Results of tools are text here: what they show comes after them, from the user."""
        shows: list[Part] = []
        turn = max((n for n, message in enumerate(request.messages) if message.role == "user"), default=0)
        for number, message in enumerate(request.messages):
            if message.role == "tool":
                content = tool_words(message)
                yield {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
                shows += shown(message)
                continue
            if shows:
                yield self._from_tools(shows)
                shows = []
            if message.role == "assistant":
                yield _assistant(message, request.model, under_way=number > turn)
            else:
                yield {"role": message.role, "content": self._content(message.parts) or message.content}
        if shows:
            yield self._from_tools(shows)

    def _from_tools(self, shows: Sequence[Part]) -> dict[str, Any]:
        return {"role": "user", "content": self._content([Text("What the tools show:"), *shows])}

    def _content(self, parts: Sequence[Part]) -> list[dict[str, Any]]:
        return [made for part in parts if (made := chat_part(part, self._server)) is not None]

    def _settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        renamed = dict(settings)
        for alias in ("max_tokens", "max_output_tokens"):
            if alias in renamed:
                renamed[self._server.max_tokens] = renamed.pop(alias)
        if self._server.name == "openrouter" and (effort := renamed.pop("reasoning_effort", None)) is not None:
            renamed["reasoning"] = {**(renamed.get("reasoning") or {}), "effort": effort}
        choice = renamed.get("tool_choice")
        if isinstance(choice, str) and choice not in ("auto", "none", "required"):
            renamed["tool_choice"] = {"type": "function", "function": {"name": choice}}
        return renamed


def _assistant(message: Message, model: str, *, under_way: bool) -> dict[str, Any]:
    if not message.tool_calls:
        return {"role": "assistant", "content": message.content}
    # A malformed call goes back without arguments: several servers parse the text and refuse what is no object.
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in message.tool_calls
    ]
    # Servers want the thoughts of the turn under way back, and refuse or drop those of earlier ones.
    thoughts = _thoughts(message, model) if under_way else {}
    return {"role": "assistant", "content": message.content or None, "tool_calls": calls, **thoughts}


def _thoughts(message: Message, model: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for part in message.parts:
        if not isinstance(part, Reasoning) or (part.vendor, part.model) != (VENDOR, model):
            continue
        if (name := part.data.get("field")) and part.text:
            fields[name] = part.text
        if details := part.data.get("details"):
            fields["reasoning_details"] = details
    return fields
