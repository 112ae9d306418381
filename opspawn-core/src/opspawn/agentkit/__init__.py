"""Building agents: what one is, what it can do, and the context in which it acts. Runs with no server and no store."""

from opspawn.agentkit.agent import Agent, RunResult
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.context import Context
from opspawn.agentkit.conversation import Conversation
from opspawn.agentkit.fallback import FallbackModel
from opspawn.agentkit.function_model import FunctionModel
from opspawn.agentkit.kit import Kit
from opspawn.agentkit.recollection import Recollection
from opspawn.agentkit.record import RecordingModel
from opspawn.agentkit.tool import FunctionTool, tool
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
