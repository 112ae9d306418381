"""How an agent gets from its input to an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from opspawn.contracts.run import AgentContext


@dataclass(frozen=True, slots=True)
class PlannerResult:
    """The answer, and why the planner stopped: "answered", or the planner's own short word for another end."""

    output: Any
    reason: str = "answered"


class Planner(Protocol):
    """A strategy. It keeps no state between runs, and acts through the context only, so that it is durable for free."""

    async def run(self, context: AgentContext) -> PlannerResult:
        """Work on `context.input` until there is an answer.

        Raises:
            StepLimit: `context.max_steps` model calls did not suffice.
        """
        ...
