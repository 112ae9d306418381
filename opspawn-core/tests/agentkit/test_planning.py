"""Planners of any kind show plans and have people decide about them; branches of a run do not disturb one another."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from opspawn.agentkit import Agent, tool
from opspawn.contracts.events import Event
from opspawn.contracts.model import ToolCall
from opspawn.contracts.plan import Plan, PlanStep
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run_events import PlanChanged, PlanMade
from opspawn.errors import ModelRetry
from opspawn.logs.events import event_line
from opspawn.testing import ScriptedModel

PLAN = Plan(steps=[PlanStep(id="look", tool="search", inputs={"q": "tea"}, effect="read"), PlanStep(id="think")])


class Proposes:
    """Proposes as it is told, and answers with the last verdict."""

    def __init__(self, *proposals: dict[str, Any]) -> None:
        self.proposals = proposals

    async def run(self, context: Any) -> PlannerResult:
        for given in self.proposals:
            verdict = await context.propose(**{"plan": PLAN, **given})
        return PlannerResult(verdict.model_dump_json(exclude_none=True))


async def run(planner: Proposes, **given: Any) -> tuple[str, list[Any]]:
    events: list[Any] = []
    agent = Agent("planner", model=ScriptedModel([]), planner=planner)
    result = await agent.run("Plan.", on_event=events.append, **given)
    return result.output, [event for event in events if isinstance(event, PlanMade | PlanChanged)]


async def test_a_plan_that_nobody_need_approve_is_told_and_counts_as_approved():
    said, told = await run(Proposes({}))

    assert said == '{"decision":"approve","words":""}'
    [event] = told
    assert event.plan == {
        "steps": [{"id": "look", "tool": "search", "inputs": {"q": "tea"}, "effect": "read"}, {"id": "think"}]
    }


async def test_a_plan_is_told_once_and_asked_about_as_often_as_is_wanted():
    questions: list[Any] = []

    def answer(question: Any) -> Any:
        questions.append(question)
        return {"decision": "revise", "words": "Shorter."}

    said, told = await run(Proposes({"ask": True}, {"ask": True, "remark": "Again:"}), on_question=answer)

    assert said == '{"decision":"revise","words":"Shorter."}'
    assert len(told) == 1
    assert [question.kind for question in questions] == ["plan", "plan"]
    assert questions[1].text.startswith("Again:\nMay planner carry out this plan?\n- look: search(q='tea') [read]")


async def test_another_plan_is_told_with_who_changed_it():
    other = Plan(steps=[PlanStep(id="nothing")])
    _, told = await run(Proposes({}, {"plan": other, "by": "ada"}))

    assert [event.type for event in told] == ["plan_made", "plan_changed"]
    assert (told[1].plan, told[1].by) == ({"steps": [{"id": "nothing"}]}, "ada")


def test_a_plan_reads_as_a_sentence_in_logs():
    data = {"agent": "a", "number": 2, "by": "ada", "plan": {"steps": [{"id": "a", "tool": "find"}, {"id": "b"}]}}
    event = Event(1, "t", datetime.now(UTC), "plan.made", data)

    assert event_line(event)["message"] == "Plan 2, changed by ada: a (find), b (think)."


@pytest.mark.parametrize("branches", [1, 5])
async def test_a_tool_that_is_called_wrongly_is_closed_in_the_branch_where_that_happens(branches: int):
    calls = []

    @tool(effect="read")
    async def guess(n: int) -> str:
        """Guess."""
        calls.append(n)
        raise ModelRetry("No.")

    class Guesses:
        async def run(self, context: Any) -> PlannerResult:
            async def branch(n: int) -> str:
                for _ in range(5 // branches):
                    [result] = await context.act([ToolCall("1", "guess", {"n": n})])
                return str(result.content)

            return PlannerResult("; ".join(await context.gather(*(branch(n) for n in range(branches)))))

    result = await Agent("a", model=ScriptedModel([]), planner=Guesses(), tools=[guess]).run("Guess.")

    assert len(calls) == (3 if branches == 1 else 5)
    assert ("closed" in result.output) is (branches == 1)
