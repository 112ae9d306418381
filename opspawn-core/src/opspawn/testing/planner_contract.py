"""The promises of a planner, as tests with scripted models. A planner proves itself by filling one method:

    class TestMine(PlannerContract):
        def open_planner(self) -> Planner:
            return MyPlanner()

What the models say is written as for a planner that uses the model's own tool calling: a text answers, a `ToolCall`
calls. A planner that speaks with models in another way overrides `say`, which turns such a move into what its model
would say. Each test is one promise, in the words of its docstring; any other promise is never overridden: a planner
that cannot keep one marks it as an expected failure, with the reason. Nothing here measures time or reaches a network.
"""

from __future__ import annotations

from opspawn.testing.planner_promises import PlannerSuite
from opspawn.testing.planner_promises.crashes import CrashPromises
from opspawn.testing.planner_promises.ends import EndPromises
from opspawn.testing.planner_promises.tools import ToolPromises


class PlannerContract(ToolPromises, EndPromises, CrashPromises):
    """Every promise of a planner. Inherit, and give `open_planner`."""


__all__ = ["PlannerContract", "PlannerSuite"]
