"""What is offered: agents, workflows, tools and the fleet, each as one MCP tool with the task that its call becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.types import Tool, ToolAnnotations

from opspawn.agentkit.matching import glob
from opspawn.contracts.tool import Effect
from opspawn.contracts.transport import TOOL_CALL, Host
from opspawn.errors import InvalidInput
from opspawn_mcp.serving.keys import Caller
from opspawn_mcp.serving.settings import ServeConfig
from opspawn_mcp.standing import matching

#: The tool that asks for the result of an earlier call.
RESULT = "opspawn_result"
_TAKEN = re.compile(r"[^A-Za-z0-9_-]")
_MOST = 64
_ASK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "minLength": 1, "description": "What it is asked, or told to do."},
        "conversation": {
            "type": "string",
            "description": "Any name of your choice: calls with the same one go on with the same conversation.",
        },
    },
    "required": ["message"],
    "additionalProperties": False,
}
_RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {"task": {"type": "string", "description": "The task, as an earlier answer named it."}},
    "required": ["task"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Offer:
    """One tool, and the handler that carries out its calls."""

    tool: Tool
    handler: str
    source: str | None = None

    def order(self, arguments: Mapping[str, Any], caller: Caller) -> tuple[Any, dict[str, Any]]:
        """The input and the options of the task for a call. Raises: InvalidInput: the arguments do not fit."""
        if self.handler == TOOL_CALL:
            asked = {"tool": self.tool.name, "arguments": dict(arguments), "agent": caller.name}
            return {**asked, "source": self.source} if self.source else asked, {}
        if not self.handler.startswith("agent/"):
            return dict(arguments), {}
        if unknown := sorted(set(arguments) - set(_ASK["properties"])):
            raise InvalidInput(f"{self.tool.name} has no argument {unknown[0]!r}.", remedy="Give message.")
        message, conversation = arguments.get("message"), arguments.get("conversation")
        if not isinstance(message, str) or not message:
            raise InvalidInput(f"{self.tool.name} needs a message, which is a text.")
        if not isinstance(conversation, str | None):
            raise InvalidInput(f"conversation of {self.tool.name} is a text.")
        return message, {"session": conversation} if conversation else {}


class Offers:
    """What a host offers, as the configuration says."""

    def __init__(self, host: Host, config: ServeConfig) -> None:
        self._host = host
        self._config = config

    async def check(self) -> None:
        """Raises: NotFound: a tool is named that is not there."""
        await self._host.tools(self._config.tools)

    async def of(self, caller: Caller) -> dict[str, Offer]:
        """The offers to one caller, by name, always in the same order. Raises: OpspawnError."""
        found: dict[str, Offer] = {}
        for offer in [*self._agents(), *await self._workflows(), *await self._tools(caller)]:
            found.setdefault(offer.tool.name, offer)
        return {name: offer for name, offer in found.items() if matching(caller.tools, name)}

    def _agents(self) -> list[Offer]:
        return [
            Offer(
                Tool(
                    name=_name("ask", agent.name),
                    description=agent.description or f"Ask the agent {agent.name}.",
                    input_schema=_ASK,
                ),
                f"agent/{agent.name}",
            )
            for agent in self._host.agents()
            if matching(self._config.agents, agent.name)
        ]

    async def _workflows(self) -> list[Offer]:
        found = []
        for name in self._host.workflows():
            if any(glob(pattern, name) for pattern in self._config.workflows):
                definition = (await self._host.definitions.get(name)).definition
                words = str(definition.get("description") or f"Run the workflow {name}.")
                schema = schema_of(definition.get("inputs") or {})
                found.append(
                    Offer(Tool(name=_name("run", name), description=words, input_schema=schema), f"workflow/{name}")
                )
        return found

    async def _tools(self, caller: Caller) -> list[Offer]:
        named = [*self._config.tools, *(f"mcp:{one}" for one in self._config.export)]
        return [
            Offer(
                Tool(
                    name=one.tool.name,
                    description=one.tool.description,
                    input_schema=dict(one.tool.parameters),
                    annotations=_hints(one.tool.effect),
                ),
                TOOL_CALL,
                one.source,
            )
            for one in await self._host.tools(named, caller.name)
        ]


def result_tool() -> Tool:
    """The tool by which the result of an earlier call is asked for."""
    words = "Wait for the result of an earlier call that was answered with its task, and return it."
    return Tool(name=RESULT, description=words, input_schema=_RESULT, annotations=ToolAnnotations(read_only_hint=True))


def schema_of(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JSON Schema of a workflow's inputs: what has no default is required."""
    return {
        "type": "object",
        "properties": {name: dict(spec) for name, spec in inputs.items()},
        "required": [name for name, spec in inputs.items() if "default" not in spec],
        "additionalProperties": False,
    }


def _name(verb: str, name: str) -> str:
    return _TAKEN.sub("_", f"{verb}_{name}")[:_MOST]


def _hints(effect: Effect) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=effect == "read",
        idempotent_hint=effect in ("read", "idempotent"),
        destructive_hint=effect == "once",
    )
