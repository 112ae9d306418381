"""Both voices of the planner keep what planners promise. A move that calls tools is a plan, with a step for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.model import ToolCall
from opspawn.testing import PlannerContract
from opspawn_planner_plan.planner import PlanExecutePlanner


def plan_of(calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"steps": [{"id": call.id, "tool": call.name, "inputs": call.arguments} for call in calls]}


class TestPlanExecute(PlannerContract):
    def open_planner(self) -> PlanExecutePlanner:
        return PlanExecutePlanner()

    def say(self, move: Any) -> Any:
        calls = [move] if isinstance(move, ToolCall) else move
        if not isinstance(calls, list):
            return move
        if calls[0].malformed is not None:
            return ToolCall("p", "make_plan", {}, malformed=calls[0].malformed)
        return ToolCall("p", "make_plan", plan_of(calls))


class TestPlanExecuteInText(PlannerContract):
    def open_planner(self) -> PlanExecutePlanner:
        return PlanExecutePlanner(mode="text")

    def say(self, move: Any) -> Any:
        calls = [move] if isinstance(move, ToolCall) else move
        if not isinstance(calls, list):
            return move
        return calls[0].malformed or f"My plan:\n```json\n{json.dumps(plan_of(calls), indent=1)}\n```\n"
