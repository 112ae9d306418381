"""Opspawn: LLM agents that survive crashes.

The nouns that users hold; everything else lives in the named subpackages. Each is imported when it is first used, so
that a command pays for what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opspawn.faces import on_first_use

if TYPE_CHECKING:
    from opspawn.agentkit.agent import Agent, RunResult
    from opspawn.agentkit.conversation import Conversation
    from opspawn.agentkit.function_tool import tool
    from opspawn.agentkit.guardrails import guardrail
    from opspawn.agentkit.policy import Policy, Rule
    from opspawn.agentkit.recollection import Recollection
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

_HOMES = {
    "Agent": ".agentkit.agent",
    "App": ".app",
    "Budget": ".contracts.budget",
    "BudgetExceeded": ".errors",
    "Cheaper": ".contracts.budget",
    "Conversation": ".agentkit.conversation",
    "DidNotHappen": ".contracts.tool",
    "GoOn": ".contracts.tool",
    "Happened": ".contracts.tool",
    "Limit": ".contracts.limit",
    "ModelRetry": ".errors",
    "OpspawnError": ".errors",
    "Policy": ".agentkit.policy",
    "Recollection": ".agentkit.recollection",
    "Redact": ".contracts.guardrail",
    "RetryPolicy": ".contracts.run",
    "Rule": ".agentkit.policy",
    "RunContext": ".contracts.run",
    "RunResult": ".agentkit.agent",
    "Sandbox": ".contracts.sandbox",
    "Seen": ".contracts.guardrail",
    "ToolContext": ".contracts.tool",
    "ToolError": ".errors",
    "Toolset": ".agentkit.toolsets",
    "Window": ".agentkit.window",
    "guardrail": ".agentkit.guardrails",
    "tool": ".agentkit.function_tool",
}

__getattr__ = on_first_use(__name__, _HOMES)
