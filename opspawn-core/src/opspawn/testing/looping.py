"""`LoopPlanner`: the least that a planner is, for tests of agents, tools and models that need one."""

from __future__ import annotations

from opspawn.agentkit.content import opening
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.errors import StepLimit


class LoopPlanner:
    """Thinks and acts until the model answers. Needs no plugin."""

    async def run(self, context: AgentContext) -> PlannerResult:
        """Return the model's first answer without tool calls. Raises: StepLimit."""
        messages = opening(context)
        for _ in range(context.max_steps):
            response = await context.think(messages)
            if not response.tool_calls:
                return PlannerResult(response.text)
            messages.append(response.message())
            messages += [result.message() for result in await context.act(response.tool_calls)]
        raise StepLimit("There is no answer.")
