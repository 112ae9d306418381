"""Requests in the Messages protocol.

It differs from others in four ways that show here: the system's words stand apart; turns alternate, so that all results
of one answer's calls go into one message of the user, before anything else in it; each thought has a signature and goes
back unchanged; and what may be cached is marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.agentkit.providing import with_settings
from opspawn.contracts.model import ModelRequest, Reasoning
from opspawn_model_anthropic.blocks import VENDOR, message_blocks
from opspawn_model_anthropic.schemas import OUTPUT_TOOL, closed, is_enforceable, wrapped

#: What the provider itself decides; a setting of that name would break its reading of the answer.
_RESERVED = ("model", "messages", "system", "tools", "stream")
#: Gone from the protocol with the version that the client speaks; asked for, they are sent in the one before.
_SAMPLING = ("temperature", "top_p", "top_k")
_OLDER_VERSION = "2023-06-01"
_EFFORTS = {"minimal": "low"}


@dataclass(frozen=True, slots=True)
class Writing:
    """How requests are written; see the plugin's settings."""

    max_tokens: int = 32_000
    cache: str = "5m"
    output: str = "auto"

    def body(self, request: ModelRequest, *, stream: bool) -> dict[str, Any]:
        """The JSON to send. Raises: ModelError: a setting, image or file that cannot be passed on."""
        system, messages = _conversation(request)
        body: dict[str, Any] = {"model": request.model, "max_tokens": self.max_tokens, "messages": messages}
        if system:
            body["system"] = [{"type": "text", "text": system}]
        tools = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
        settings = _settings(request.settings)
        if self.native(request):
            wanted = {"type": "json_schema", "schema": closed(request.output_schema)}
            settings["output_config"] = {**(settings.get("output_config") or {}), "format": wanted}
        elif request.output_schema is not None:
            tools.append(_output_tool(request.output_schema))
            thinks = (settings.get("thinking") or {}).get("type") in ("enabled", "adaptive")
            # With thoughts the protocol lets nobody force a call; the tool's description must do.
            settings.setdefault("tool_choice", {"type": "auto" if thinks else "any"})
        if tools:
            body["tools"] = tools
        else:
            settings.pop("tool_choice", None)
        if (settings.get("thinking") or {}).get("type") == "enabled" and _thoughtless(request):
            del settings["thinking"]
        if stream:
            body["stream"] = True
        body = with_settings(body, settings, _RESERVED)
        if self.cache != "off":
            _mark(body, {"type": "ephemeral"} if self.cache == "5m" else {"type": "ephemeral", "ttl": self.cache})
        return body

    def headers(self, body: Mapping[str, Any]) -> dict[str, str]:
        """The headers that a body needs."""
        return {"anthropic-version": _OLDER_VERSION} if any(name in body for name in _SAMPLING) else {}

    def native(self, request: ModelRequest) -> bool:
        """Whether the vendor itself holds the answer to the schema."""
        if request.output_schema is None or self.output == "tool":
            return False
        return self.output == "native" or is_enforceable(request.output_schema)


def _conversation(request: ModelRequest) -> tuple[str, list[dict[str, Any]]]:
    """The system's words, and the turns."""
    system = [message.content for message in request.messages if message.role == "system" and message.content.strip()]
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        if message.role == "system" or not (blocks := message_blocks(message, request.model)):
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns or turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": "Begin."}]})
    last = turns[-1]["content"][-1]
    if turns[-1]["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()  # an answer begun for the model must not end in space
    return "\n\n".join(system), turns


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under this protocol's names, so that an agent's settings need not know who is asked."""
    renamed = dict(settings)
    for alias in ("max_output_tokens", "max_completion_tokens"):
        if alias in renamed:
            renamed["max_tokens"] = renamed.pop(alias)
    if (stop := renamed.pop("stop", None)) is not None:
        renamed["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if (effort := renamed.pop("reasoning_effort", None)) == "none":
        renamed.setdefault("thinking", {"type": "disabled"})
    elif effort is not None:
        effort = _EFFORTS.get(effort, effort)
        renamed["output_config"] = {"effort": effort, **(renamed.get("output_config") or {})}
    choice = renamed.get("tool_choice")
    if isinstance(choice, str):
        named = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
        renamed["tool_choice"] = named.get(choice, {"type": "tool", "name": choice})
    parallel = renamed.pop("parallel_tool_calls", None)
    if parallel is False and (renamed.get("tool_choice") or {}).get("type") != "none":
        renamed["tool_choice"] = {**(renamed.get("tool_choice") or {"type": "auto"}), "disable_parallel_tool_use": True}
    return renamed


def _output_tool(schema: dict[str, Any]) -> dict[str, Any]:
    words = "Give your final answer by calling this, once, when you are done. Say nothing besides."
    return {"name": OUTPUT_TOOL, "description": words, "input_schema": wrapped(schema)}


def _thoughtless(request: ModelRequest) -> bool:
    """Whether the tool calls of the turn under way came without thoughts of this model, as after a change of model.

    The protocol then refuses thoughts of a fixed budget until the turn is over.
    """
    for message in reversed(request.messages):
        if message.role == "user":
            return False
        if message.role == "assistant" and message.tool_calls:
            own = (part for part in message.parts if isinstance(part, Reasoning))
            if not any(part.vendor == VENDOR and part.model == request.model for part in own):
                return True
    return False


def _mark(body: dict[str, Any], mark: dict[str, str]) -> None:
    """Mark the ends of what comes again: the tools and instructions, and the conversation up to here."""
    stable: Sequence[dict[str, Any]] = body.get("system") or body.get("tools") or []
    if stable:
        stable[-1]["cache_control"] = mark
    for block in reversed(body["messages"][-1]["content"]):
        if block["type"] not in ("thinking", "redacted_thinking"):
            block["cache_control"] = mark
            return
