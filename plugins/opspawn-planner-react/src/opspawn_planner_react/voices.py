"""The two ways to talk with a model about tools: its own tool calling, and plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from opspawn.agentkit.content import opening
from opspawn.contracts.content import File, Image
from opspawn.contracts.model import Message, ModelResponse, ToolCall
from opspawn.contracts.run import AgentContext
from opspawn.contracts.tool import ToolResult
from opspawn_planner_react import text


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model said: calls, or an answer (""  if there is none), or a `fault` of form to tell it."""

    response: ModelResponse
    calls: tuple[ToolCall, ...] = ()
    answer: str = ""
    fault: str | None = None

    @property
    def message(self) -> Message:
        return self.response.message()


class Voice(Protocol):
    """How to open a conversation, have the model's next turn, and tell it what came of its calls."""

    def opening(self, context: AgentContext) -> list[Message]: ...

    async def turn(self, context: AgentContext, messages: Sequence[Message]) -> Turn: ...

    async def last(self, context: AgentContext, messages: Sequence[Message]) -> Turn:
        """A turn without tools."""
        ...

    def told(self, results: Sequence[ToolResult]) -> list[Message]: ...

    def refused(self, calls: Sequence[ToolCall], words: str) -> list[Message]:
        """What tells the model why its calls were not carried out."""
        ...


class NativeVoice:
    """The model's own tool calling."""

    def opening(self, context: AgentContext) -> list[Message]:
        return opening(context)

    async def turn(self, context: AgentContext, messages: Sequence[Message]) -> Turn:
        response = await context.think(messages)
        return Turn(response, response.tool_calls, response.text)

    async def last(self, context: AgentContext, messages: Sequence[Message]) -> Turn:
        response = await context.think(messages, tools=())
        return Turn(response, (), response.text)

    def told(self, results: Sequence[ToolResult]) -> list[Message]:
        return [result.message() for result in results]

    def refused(self, calls: Sequence[ToolCall], words: str) -> list[Message]:
        return [Message("tool", words, (), call.id, True) for call in calls]


class TextVoice:
    """`Thought`, `Action`, `Action Input`, `Observation`, `Final Answer`."""

    def __init__(self) -> None:
        self._turns = 0

    def opening(self, context: AgentContext) -> list[Message]:
        form = text.prompt(context.tools)
        words = f"{context.instructions}\n\n{form}" if context.instructions else form
        return [Message("system", words), *(one for one in opening(context) if one.role != "system")]

    async def turn(self, context: AgentContext, messages: Sequence[Message]) -> Turn:
        response = await context.think(messages, tools=(), output=None)
        self._turns += 1
        written = text.read(response.text, context.tools, self._turns)
        empty = not response.text.strip()
        fault = None if written.calls or written.answer is not None or empty else text.FORM
        return Turn(response, written.calls, written.answer or "", fault)

    async def last(self, context: AgentContext, messages: Sequence[Message]) -> Turn:
        response = await context.think(messages, tools=(), output=None)
        written = text.read(response.text, context.tools, self._turns + 1)
        return Turn(response, (), written.answer or ("" if written.calls else response.text))

    def told(self, results: Sequence[ToolResult]) -> list[Message]:
        """One message of the user for all, since many models take no two in a row."""
        if not results:
            return []
        head = "Observation: " if len(results) == 1 else "Observation ({}): "
        words = "\n".join(
            f"{head.format(result.name)}{'Error: ' if result.is_error else ''}{result.content}" for result in results
        )
        parts = tuple(part for result in results for part in result.parts if isinstance(part, Image | File))
        message = Message("user", words)
        return [replace(message, parts=parts)] if parts else [message]

    def refused(self, calls: Sequence[ToolCall], words: str) -> list[Message]:
        return [Message("user", f"Observation: {words}")]
