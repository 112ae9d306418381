"""Building agents: what one is, what it can do, and the context in which it acts. Runs with no server and no store.

Each name is imported when it is first used: much of what looks at runs needs one part of this, and makes no agent.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opspawn.agentkit.agent import Agent, RunResult
    from opspawn.agentkit.bound import BoundModel
    from opspawn.agentkit.context import Context
    from opspawn.agentkit.conversation import Conversation
    from opspawn.agentkit.fallback import FallbackModel
    from opspawn.agentkit.function_model import FunctionModel
    from opspawn.agentkit.function_tool import FunctionTool, tool
    from opspawn.agentkit.kit import Kit
    from opspawn.agentkit.recollection import Recollection
    from opspawn.agentkit.record import RecordingModel
    from opspawn.agentkit.window import Window

__all__ = [
    "Agent",
    "BoundModel",
    "Context",
    "Conversation",
    "FallbackModel",
    "FunctionModel",
    "FunctionTool",
    "Kit",
    "Recollection",
    "RecordingModel",
    "RunResult",
    "Window",
    "tool",
]

_HOMES = {
    "Agent": "agent",
    "BoundModel": "bound",
    "Context": "context",
    "Conversation": "conversation",
    "FallbackModel": "fallback",
    "FunctionModel": "function_model",
    "FunctionTool": "function_tool",
    "Kit": "kit",
    "Recollection": "recollection",
    "RecordingModel": "record",
    "RunResult": "agent",
    "Window": "window",
    "tool": "function_tool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
