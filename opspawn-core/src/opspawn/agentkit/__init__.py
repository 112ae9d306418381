"""Building agents: what one is, what it can do, and the context in which it acts. Runs with no server and no store.

Each name is imported when it is first used: much of what looks at runs needs one part of this, and makes no agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opspawn.faces import on_first_use

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
    "Agent": ".agent",
    "BoundModel": ".bound",
    "Context": ".context",
    "Conversation": ".conversation",
    "FallbackModel": ".fallback",
    "FunctionModel": ".function_model",
    "FunctionTool": ".function_tool",
    "Kit": ".kit",
    "Recollection": ".recollection",
    "RecordingModel": ".record",
    "RunResult": ".agent",
    "Window": ".window",
    "tool": ".function_tool",
}

__getattr__ = on_first_use(__name__, _HOMES)
