"""Agents that work for other agents: asked as a tool, or handed the conversation.

An agent that is asked as a tool sees only what it is told and answers the one who asked: a child task in a durable run,
a nested run in memory. An agent that is handed the conversation sees all of it and answers in the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from typing_extensions import TypeIs

from opspawn.contracts.model import Message
from opspawn.contracts.tool import Effect, ToolContext
from opspawn.errors import ConfigError, Halt, InvalidInput

#: How deep agents may stand on one another: an agent without others has the depth 1.
MAX_DEPTH = 8
#: What the tool's name begins with that hands the conversation over; the rest is the agent's name.
HANDOFF = "transfer_to_"


@runtime_checkable
class SubAgent(Protocol):
    """What others need to know of an agent."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def subagents(self) -> tuple[SubAgent, ...]: ...

    @property
    def about(self) -> Any:
        """Its `Description`."""
        ...

    async def run(self, input: Any, *, deps: Any = None) -> Any:
        """Run in memory."""
        ...


def is_agent(thing: Any) -> TypeIs[SubAgent]:
    """Whether it is an agent."""
    return isinstance(thing, SubAgent) and not isinstance(thing, type)


def family(agents: Iterable[SubAgent]) -> list[SubAgent]:
    """The agents and all that they stand on, each once. Raises: ConfigError: two have one name."""
    found: dict[str, SubAgent] = {}

    def add(agent: SubAgent) -> None:
        known = found.setdefault(agent.name, agent)
        if known is not agent:
            raise ConfigError(f"Two agents are named {agent.name!r}.", remedy="Give one another name.")
        for one in agent.subagents:
            if found.get(one.name) is not one:
                add(one)

    for agent in agents:
        add(agent)
    return list(found.values())


class AgentTool:
    """An agent as a tool of another one."""

    effect: Effect = "idempotent"
    timeout_s: float | None = None

    def __init__(self, agent: SubAgent, name: str | None = None, description: str | None = None) -> None:
        """Take the agent; name and description are its own unless given."""
        self.agent = agent
        self.name = name or agent.name
        self.description = description or agent.description or f"Asks the agent {agent.name!r}, and returns its answer."
        self.parameters: dict[str, Any] = {
            "type": "object",
            "properties": {
                "input": {
                    "type": "string",
                    "description": "What it is to do, and all that it needs to know: it sees nothing of this talk.",
                }
            },
            "required": ["input"],
            "additionalProperties": False,
        }

    def __repr__(self) -> str:
        return f"<tool {self.name!r}, the agent {self.agent.name!r}>"

    def input_of(self, arguments: dict[str, Any]) -> str:
        """What the agent is told. Raises: InvalidInput."""
        said = arguments.get("input")
        if not isinstance(said, str) or not said.strip() or len(arguments) > 1:
            raise InvalidInput(
                f"The arguments of the tool {self.name!r} do not fit.", faults=["input: a text is meant"]
            )
        return said

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Run it in memory: where no agent's run context calls it, e.g. in a workflow."""
        result = await self.agent.run(self.input_of(arguments), deps=context.deps)
        return result.output


class HandoffTool:
    """Hands the conversation to another agent. Its call is carried out by the run itself."""

    effect: Effect = "read"
    timeout_s: float | None = None

    def __init__(self, agent: SubAgent) -> None:
        self.agent = agent
        self.name = f"{HANDOFF}{agent.name}"
        about = f" {agent.description}" if agent.description else ""
        self.description = f"Hands this conversation over to {agent.name!r}, who then answers.{about}"
        self.parameters: dict[str, Any] = {
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "Why, in a few words."}},
            "additionalProperties": False,
        }

    async def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Nobody calls it so."""
        raise InvalidInput(f"{self.name!r} has a meaning within the run of an agent only.")


class HandedOver(Halt):
    """Ends the loop of one agent: another goes on with the conversation. Caught by the run, never by a planner."""

    def __init__(self, agent: SubAgent, messages: list[Message], reason: str) -> None:
        super().__init__(f"The conversation was handed over to {agent.name!r}.")
        self.agent = agent
        self.messages = messages
        self.reason = reason
