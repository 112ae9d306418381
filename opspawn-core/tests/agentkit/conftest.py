"""What the tests of agents share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opspawn.agentkit import Agent
from opspawn.agentkit.content import opening
from opspawn.contracts.planner import Planner, PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.errors import StepLimit


class Loop:
    """Thinks and acts until the model answers: the least that a planner is."""

    async def run(self, context: AgentContext) -> PlannerResult:
        messages = opening(context)
        for _ in range(context.max_steps):
            response = await context.think(messages)
            if not response.tool_calls:
                return PlannerResult(response.text)
            messages.append(response.message())
            messages += [result.message() for result in await context.act(response.tool_calls)]
        raise StepLimit("There is no answer.")


@pytest.fixture
def loop() -> Planner:
    return Loop()


@pytest.fixture
def agent(loop: Planner) -> Callable[..., Agent[Any, Any]]:
    """Makes agents that think and act in a loop."""

    def make(name: str, model: Any, **given: Any) -> Agent[Any, Any]:
        return Agent(name, model=model, **{"planner": loop, **given})

    return make
