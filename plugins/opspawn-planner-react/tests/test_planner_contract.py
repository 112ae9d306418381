"""Both voices of the ReAct planner keep what planners promise."""

from __future__ import annotations

import json
from typing import Any

from opspawn.contracts.model import ToolCall
from opspawn.testing import PlannerContract
from opspawn_planner_react.planner import ReactPlanner


class TestReact(PlannerContract):
    def open_planner(self) -> ReactPlanner:
        return ReactPlanner()


class TestReactThatFinishes(PlannerContract):
    def open_planner(self) -> ReactPlanner:
        return ReactPlanner(finish=True)


class TestReactInText(PlannerContract):
    def open_planner(self) -> ReactPlanner:
        return ReactPlanner(mode="text")

    def say(self, move: Any) -> Any:
        calls = [move] if isinstance(move, ToolCall) else move
        if not isinstance(calls, list):
            return move
        return "\n".join(
            f"Action: {call.name}\nAction Input: {call.malformed or json.dumps(call.arguments)}" for call in calls
        )
