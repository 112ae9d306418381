"""Opspawn: LLM agents that survive crashes.

The nouns that users hold; everything else lives in the named subpackages.
"""

from opspawn.agentkit.agent import Agent, RunResult
from opspawn.agentkit.conversation import Conversation
from opspawn.agentkit.guardrails import guardrail
from opspawn.agentkit.policy import Policy, Rule
from opspawn.agentkit.recollection import Recollection
from opspawn.agentkit.tool import tool
from opspawn.agentkit.toolsets import Toolset
from opspawn.agentkit.window import Window
from opspawn.app import App
from opspawn.contracts.budget import Budget, Cheaper
from opspawn.contracts.guardrail import Redact, Seen
from opspawn.contracts.limit import Limit
from opspawn.contracts.run import RetryPolicy, RunContext
from opspawn.contracts.sandbox import Sandbox
from opspawn.contracts.tool import DidNotHappen, GoOn, Happened, ToolContext
from opspawn.errors import BudgetExceeded, ModelRetry, OpspawnError, ToolError

__all__ = [
    "Agent",
    "App",
    "Budget",
    "BudgetExceeded",
    "Cheaper",
    "Conversation",
    "DidNotHappen",
    "GoOn",
    "Happened",
    "Limit",
    "ModelRetry",
    "OpspawnError",
    "Policy",
    "Recollection",
    "Redact",
    "RetryPolicy",
    "Rule",
    "RunContext",
    "RunResult",
    "Sandbox",
    "Seen",
    "ToolContext",
    "ToolError",
    "Toolset",
    "Window",
    "guardrail",
    "tool",
]
