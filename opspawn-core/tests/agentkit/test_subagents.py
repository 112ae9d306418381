"""Agents ask other agents, and hand conversations over to them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from opspawn.agentkit import tool
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.run_events import Handoff, ModelAnswered, SubAgentEnded, SubAgentStarted, TextDelta
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, ModelError, StepLimit
from opspawn.testing import ScriptedModel


@tool(effect="read")
async def whose(ctx: ToolContext) -> str:
    """Say whose it is."""
    return f"{ctx.deps} by {ctx.agent}"


def asks(name: str, words: str = "Look.", id: str = "1") -> ToolCall:
    return ToolCall(id, name, {"input": words})


async def test_an_agent_asks_another_as_a_tool_and_its_usage_counts(agent):
    inner = ScriptedModel([ToolCall("1", "whose", {}), "Ada's."])
    outer = ScriptedModel([asks("finder", "Whose?"), "It is Ada's."])
    finder = agent("finder", inner, tools=[whose], description="Finds out.")

    result = await agent("chief", outer, tools=[finder]).run("Whose is it?", deps="Ada")

    assert result.output == "It is Ada's."
    assert inner.requests[0].messages == (Message("user", "Whose?"),)
    assert inner.requests[1].messages[-1].content == "Ada by finder"
    assert outer.requests[1].messages[-1].content == "Ada's."
    assert (outer.requests[0].tools[0].name, outer.requests[0].tools[0].description) == ("finder", "Finds out.")
    assert result.usage.requests == 4


async def test_several_are_asked_at_once_and_a_typed_answer_comes_as_json(agent):
    class Found(BaseModel):
        what: str

    one = agent("one", ScriptedModel([ToolCall("f", "final_answer", {"what": "x"})]), output=Found)
    two = agent("two", ScriptedModel([ModelError("It is down.")]))
    model = ScriptedModel([[asks("one", id="1"), asks("second", id="2")], "Done."])

    await agent("chief", model, tools=[one, two.as_tool(name="second")]).run("Go.")

    first, second = model.requests[1].messages[-2:]
    assert (first.content, first.is_error) == ('{"what":"x"}', False)
    assert (second.is_error, "It is down." in second.content) == (True, True)


async def test_wrong_arguments_for_an_agent_are_told_to_the_model(agent):
    model = ScriptedModel([ToolCall("1", "finder", {"question": "?"}), "Done."])

    await agent("chief", model, tools=[agent("finder", ScriptedModel([]))]).run("Go.")

    assert "input: a text is meant" in model.requests[1].messages[-1].content


async def test_pieces_of_a_sub_agents_answer_are_no_part_of_the_stream(agent):
    finder = agent("finder", ScriptedModel(["Hidden words."]))
    chief = agent("chief", ScriptedModel([asks("finder"), "Shown words."]), tools=[finder])

    seen = [event async for event in chief.stream("Go.")]

    text = "".join(one.text for one in seen if isinstance(one, TextDelta))
    assert text == "Shown words."
    [began, ended] = [one for one in seen if isinstance(one, SubAgentStarted | SubAgentEnded)]
    assert isinstance(ended, SubAgentEnded)
    assert (began.child, began.handler, ended.result) == (ended.child, "agent/finder", "Hidden words.")
    assert [one.text for one in seen if isinstance(one, ModelAnswered) and one.run == ended.child] == ["Hidden words."]


async def test_planners_spawn_agents_that_they_know_in_memory(agent):
    class Spawns:
        async def run(self, context: AgentContext) -> PlannerResult:
            return PlannerResult(await context.gather(*(context.spawn("agent/finder", n) for n in ("a", "b"))))

    finder = agent("finder", ScriptedModel(lambda request: request.messages[-1].content.upper()))

    result = await agent("chief", ScriptedModel([]), tools=[finder], planner=Spawns()).run("Go.")

    assert result.output == ["A", "B"]


async def test_in_memory_nobody_spawns_what_is_not_known(agent):
    class Spawns:
        async def run(self, context: AgentContext) -> PlannerResult:
            return PlannerResult(await context.spawn("agent/other", 1))

    with pytest.raises(ConfigError, match="'agent/other' needs child tasks"):
        await agent("chief", ScriptedModel([]), planner=Spawns(), tools=[agent("finder", ScriptedModel([]))]).run("?")


async def test_a_conversation_is_handed_over_whole_and_the_other_agent_answers(agent):
    billing_model = ScriptedModel(["You get it back."])
    billing = agent("billing", billing_model, instructions="You are billing.", description="Money.")
    first = ScriptedModel([[ToolCall("1", "whose", {}), ToolCall("2", "transfer_to_billing", {"reason": "money"})]])
    triage = agent("triage", first, tools=[whose], handoffs=[billing], instructions="You sort.")
    told: list[Any] = []

    result = await triage.run("My money?", deps="Ada", on_event=told.append)

    assert (result.output, result.agent, result.usage.requests) == ("You get it back.", "billing", 2)
    seen = billing_model.requests[0].messages
    assert seen[0] == Message("system", "You are billing.")
    assert [message.role for message in seen[1:]] == ["user", "assistant", "tool", "tool", "user"]
    assert seen[3].content == "Ada by triage"
    assert seen[-1] == Message("user", "My money?")
    [handoff] = [one for one in told if isinstance(one, Handoff)]
    assert (handoff.agent, handoff.to, handoff.reason) == ("triage", "billing", "money")
    assert result.messages[-1] == Message("assistant", "You get it back.")


async def test_the_agent_that_answers_decides_on_the_type_of_the_answer(agent):
    class Sum(BaseModel):
        total: int

    billing = agent("billing", ScriptedModel([ToolCall("f", "final_answer", {"total": 3})]), output=Sum)
    triage = agent("triage", ScriptedModel([ToolCall("1", "transfer_to_billing", {})]), handoffs=[billing])

    assert (await triage.run("How much?")).output == Sum(total=3)


def test_agents_stand_on_one_another_eight_deep_at_most(agent):
    one = agent("a1", ScriptedModel([]))
    for number in range(2, 9):
        one = agent(f"a{number}", ScriptedModel([]), tools=[one])

    with pytest.raises(ConfigError, match=r"'a9' stands on agents 9 deep\. 8 are the most"):
        agent("a9", ScriptedModel([]), handoffs=[one])


def test_an_agent_cannot_be_both_a_tool_and_another_of_that_name(agent):
    finder = agent("finder", ScriptedModel([]))

    with pytest.raises(ConfigError, match="'chief' has two tools named 'finder'"):
        agent("chief", ScriptedModel([]), tools=[finder, finder])
    with pytest.raises(ConfigError, match="'chief' has 5 among its handoffs"):
        agent("chief", ScriptedModel([]), handoffs=[5])


# -- one run, one test ------------------------------------------------------------------------------------------------


async def test_a_run_may_change_anything_for_itself(agent, loop):
    model, other = ScriptedModel(["A."]), ScriptedModel([ToolCall("1", "whose", {})])
    helper = agent("helper", model, settings={"temperature": 0, "top_p": 1})

    await helper.run("?", settings={"temperature": 1})
    with pytest.raises(StepLimit):
        await helper.run("?", model=other, max_steps=1, tools=[whose])

    assert model.requests[0].settings == {"temperature": 1, "top_p": 1}
    assert other.requests[0].tools[0].name == "whose"


async def test_a_test_overrides_an_agent_within_a_block_for_whoever_runs_it(agent):
    finder = agent("finder", ScriptedModel([]))
    chief = agent("chief", ScriptedModel([asks("finder"), "Done."]), tools=[finder])

    with finder.override(model=ScriptedModel(["Found."])):
        result = await chief.run("Go.")

    assert result.messages[2].content == "Found."
    assert finder.model == "ScriptedModel"


async def test_what_cannot_be_changed_is_named(agent):
    with pytest.raises(ConfigError, match="'helper' has no 'modell' to change"):
        await agent("helper", ScriptedModel([])).run("?", modell="x:y")


async def test_dependencies_come_from_the_factory_where_nobody_gives_them(agent):
    made = []

    async def factory() -> str:
        made.append("Ada")
        return "Ada"

    def model():
        return ScriptedModel([ToolCall("1", "whose", {}), "Done."])

    helper = agent("helper", None, tools=[whose], deps_factory=factory)

    first = await helper.run("?", model=model())
    await helper.run("?", model=model())
    third = await helper.run("?", model=model(), deps="Bob")

    assert [first.messages[2].content, third.messages[2].content] == ["Ada by helper", "Bob by helper"]
    assert made == ["Ada"]
