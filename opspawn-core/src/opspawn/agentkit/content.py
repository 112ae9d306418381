"""An agent's input as what a model can look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opspawn.agentkit.parts import parts_of
from opspawn.agentkit.plain import as_text, plain_json
from opspawn.contracts.model import Message
from opspawn.contracts.run import AgentContext


def opening(context: AgentContext) -> list[Message]:
    """How a conversation begins: the instructions, if there are any, what was said before, and the input."""
    system = [Message("system", context.instructions)] if context.instructions else []
    return [*system, *context.history, user_message(context.input)]


def user_message(value: Any) -> Message:
    """An agent's input as its user's message: a text as it is, images and files as parts, `{"input": ...}` as what it
    holds, and any other JSON as compact JSON text.

    Raises: InvalidInput: as `parts_of`.
    """
    if isinstance(value, Mapping) and len(value) == 1 and "input" in value:
        value = value["input"]
    if isinstance(value, str):
        return Message("user", value)
    parts = parts_of(value)
    return Message("user", parts=parts) if parts else Message("user", as_text(plain_json(value)))
