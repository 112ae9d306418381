"""The planner in memory: plans are carried out in parallel, shown, approved or changed, and mended where they fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.agentkit import Agent, RunResult, tool
from opspawn.contracts.content import Image
from opspawn.contracts.model import ModelCapabilities, ModelRequest, ModelResponse, ToolCall
from opspawn.contracts.plan import Plan
from opspawn.contracts.run_events import PlanChanged, PlanMade, PlanStepEnded, RunFailed, ToolCallEnded
from opspawn.errors import ConfigError, Denied, ModelError, StepLimit
from opspawn.testing import ScriptedModel
from opspawn_planner_plan.planner import PlanExecutePlanner


def plan(*steps: dict[str, Any]) -> ToolCall:
    return ToolCall("p", "make_plan", {"steps": list(steps)})


def search(id: str, query: str = "x", **more: Any) -> dict[str, Any]:
    return {"id": id, "tool": "search", "inputs": {"query": query}, **more}


class Desk:
    """An agent with a search, and what happened."""

    def __init__(self, *script: Any, tools: Any = (), **settings: Any) -> None:
        self.model = ScriptedModel(script[0] if callable(script[0]) else script)
        self.searched: list[str] = []
        self.events: list[Any] = []

        @tool(effect="read")
        async def search(query: str) -> dict[str, Any]:
            """Search the shop."""
            self.searched.append(query)
            if query == "broken":
                raise LookupError("the index is broken")
            return {"hits": [f"{query} 1", f"{query} 2"], "count": 2}

        @tool(effect="once")
        async def order(article: str, number: int) -> str:
            """Order articles."""
            self.searched.append(f"ordered {number} {article}")
            return "ordered"

        planner = PlanExecutePlanner(**settings)
        self.agent = Agent("buyer", model=self.model, planner=planner, tools=[search, order, *tools], max_steps=9)

    async def run(self, **given: Any) -> RunResult:
        return await self.agent.run("Buy what we need.", on_event=self.events.append, **given)

    @property
    def told(self) -> str:
        """What the model read last."""
        return self.model.requests[-1].messages[-1].content

    @property
    def plans(self) -> list[Plan]:
        return [Plan.model_validate(event.plan) for event in self.events if isinstance(event, PlanMade | PlanChanged)]


async def test_a_plan_is_carried_out_and_its_results_feed_later_steps():
    desk = Desk(
        plan(
            search("find", "kettle"),
            {"id": "buy", "tool": "order", "inputs": {"article": "${find.hits[1]}", "number": "${find.count}"}},
        ),
        "Two kettles are on their way.",
    )

    result = await desk.run()

    assert (result.output, result.reason) == ("Two kettles are on their way.", "answered")
    assert desk.searched == ["kettle", "ordered 2 kettle 2"]
    assert "[find] search: done" in desk.told
    assert "[buy] order: done\nordered" in desk.told
    assert [event.tool for event in desk.events if isinstance(event, ToolCallEnded)] == ["make_plan", "search", "order"]
    assert not any(event.is_error for event in desk.events if isinstance(event, ToolCallEnded))


async def test_an_answer_needs_no_plan():
    desk = Desk("There is nothing to buy.")

    assert (await desk.run()).output == "There is nothing to buy."
    assert desk.plans == []


async def test_independent_steps_run_at_the_same_time_and_no_more_than_allowed():
    at_work, most, together = 0, 0, asyncio.Event()

    @tool(effect="read")
    async def wait() -> str:
        """Wait for others."""
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == 3:
            together.set()
        await together.wait()
        await asyncio.sleep(0)
        at_work -= 1
        return "done"

    desk = Desk(plan(*({"id": f"s{n}", "tool": "wait"} for n in range(7))), "Done.", tools=[wait], max_parallel=3)
    async with asyncio.timeout(10):
        await desk.run()

    assert most == 3


async def test_a_step_begins_as_soon_as_what_it_needs_is_done_and_not_when_a_whole_wave_is():
    quick_is_used = asyncio.Event()

    @tool(effect="read")
    async def slow() -> str:
        """End after the step that needs only the quick one."""
        await quick_is_used.wait()
        return "at last"

    @tool(effect="read")
    async def use(what: str) -> str:
        """Use it."""
        quick_is_used.set()
        return "used"

    steps = [
        {"id": "slow", "tool": "slow"},
        search("quick"),
        {"id": "use", "tool": "use", "inputs": {"what": "${quick.hits[0]}"}},
    ]
    desk = Desk(plan(*steps), "Done.", tools=[slow, use])
    async with asyncio.timeout(10):
        await desk.run()

    assert [line for line in desk.told.splitlines() if line.startswith("[")] == [
        "[slow] slow: done",
        "[quick] search: done",
        "[use] use: done",
    ]


async def test_a_step_without_a_tool_is_a_question_to_the_model_alone():
    desk = Desk(
        plan(
            search("find", "tea"),
            {"id": "choose", "description": "Choose the better one of ${find.hits}.", "inputs": {"for": "cats"}},
        ),
        "tea 2",
        "Take tea 2.",
    )

    await desk.run()
    asked = desk.model.requests[1]

    assert asked.tools == ()
    words = asked.messages[-1].content
    assert "Buy what we need." in words
    assert "for: cats" in words
    assert words.endswith('The step: Choose the better one of ["tea 1","tea 2"].')
    assert "[choose] think: done\ntea 2" in desk.told


async def test_only_what_failed_is_planned_again_and_finished_steps_keep_their_results():
    desk = Desk(
        plan(search("a", "tea"), search("b", "broken"), search("c", "${b.hits[0]}")),
        plan(search("a", "tea"), search("b", "milk"), search("c", "${a.hits[0]} with ${b.hits[0]}")),
        "Done.",
    )

    await desk.run()
    first = desk.model.requests[1].messages[-1].content

    assert "[b] search: failed: LookupError: the index is broken" in first
    assert "[c] search: not begun, since it needs b" in first
    assert "Plan again what is not done (b, c)" in first
    assert desk.searched == ["tea", "broken", "milk", "tea 1 with milk 1"]
    assert [[step.id for step in one.steps] for one in desk.plans] == [["a", "b", "c"], ["b", "c"]]


async def test_a_reference_that_leads_nowhere_fails_its_step_in_words():
    desk = Desk(plan(search("a", "tea"), search("b", "${a.price}")), "Done.")

    await desk.run()

    assert "[b] search: failed: ${a.price} leads nowhere: there is no '.price'. 'a' gave: {" in desk.told


async def test_plans_are_bounded():
    def always(request: ModelRequest) -> Any:
        return plan(search(f"s{len(request.messages)}")) if request.tools else "All I know."

    desk = Desk(always, max_replans=1)
    with pytest.raises(StepLimit, match=r"'buyer' made 2 plans, wants another one.*max_replans"):
        await desk.run()
    assert len(desk.plans) == 2

    finishing = Desk(always, max_replans=1, finish=True)
    result = await finishing.run()
    assert (result.output, result.reason) == ("All I know.", "step_limit")


async def test_a_plan_that_does_not_do_is_mended_a_few_times_and_then_the_run_ends():
    desk = Desk(lambda request: plan(search("a", needs=["b"])), repairs=1)

    with pytest.raises(ModelError, match=r"made 2 plans in a row that cannot be carried out\. .*needs 'b'") as caught:
        await desk.run()
    assert caught.value.error_type == "invalid_output"
    assert desk.searched == []


async def test_a_model_that_plans_again_what_is_done_turns_in_circles():
    desk = Desk(lambda request: plan(search("a")) if request.tools else "So be it.", finish=True)

    result = await desk.run()

    assert (result.output, result.reason) == ("So be it.", "loop")
    assert desk.searched == ["x"]


async def test_tools_called_without_a_plan_are_not_carried_out():
    both = ModelResponse(tool_calls=(ToolCall("1", "search", {"query": "x"}), plan(search("a", "y"))))
    desk = Desk(ToolCall("1", "search", {"query": "x"}), both, "Done.")

    await desk.run()

    assert "Put the calls of search into a plan" in desk.model.requests[1].messages[-1].content
    assert desk.searched == ["y"]


async def test_model_calls_of_steps_count_as_steps_of_the_run():
    def think(request: ModelRequest) -> Any:
        return plan(*({"id": f"s{n}", "description": "Well?"} for n in range(8)))

    desk = Desk(think, repairs=0)

    with pytest.raises(ModelError, match="8 steps without a tool, and only 7 more are possible"):
        await desk.run()


async def test_a_conversation_that_is_too_long_goes_on_with_less_of_the_results():
    @tool(effect="read")
    async def read() -> str:
        """Read a book."""
        return "word " * 500

    script = [plan({"id": "a", "tool": "read"}), ModelError("Too long.", error_type="context_overflow"), "Short."]
    desk = Desk(*script, tools=[read])

    assert (await desk.run()).output == "Short."
    assert len(desk.told) < 2000
    assert "(left out)" in desk.told


async def test_images_of_results_are_shown_to_the_model():
    picture = Image(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")

    @tool(effect="read")
    async def look() -> Any:
        """Look."""
        return ["A cat.", picture]

    desk = Desk(plan({"id": "a", "tool": "look"}), "A cat.", tools=[look])
    await desk.run()

    assert picture in desk.model.requests[-1].messages[-1].parts
    assert "[a] look: done" in desk.told


async def test_a_model_that_calls_no_tools_writes_its_plan():
    class Plain(ScriptedModel):
        def capabilities(self, model: str) -> ModelCapabilities:
            return ModelCapabilities(tools=False)

    desk = Desk("unused")
    model = Plain(['{"steps": [{"id": "a", "tool": "search", "inputs": {"query": "tea"}}]}', "Tea."])

    assert (await desk.agent.run("Buy.", model=model)).output == "Tea."
    assert desk.searched == ["tea"]
    assert all(request.tools == () for request in model.requests)


# -- approval ----------------------------------------------------------------------------------------------------------

ORDER = {"id": "buy", "tool": "order", "inputs": {"article": "tea", "number": 1}}


@pytest.mark.parametrize(
    ("approve", "step", "asks"),
    [("never", ORDER, 0), ("effects", search("a"), 0), ("effects", ORDER, 1), ("always", search("a"), 1)],
)
async def test_who_is_asked_about_what(approve: str, step: dict[str, Any], asks: int):
    desk, asked = Desk(plan(step), "Done.", approve=approve, approvers="ada"), []

    def answer(question: Any) -> Any:
        asked.append(question)
        assert desk.searched == []
        return {"decision": "approve"}

    await desk.run(on_question=answer)

    assert len(asked) == asks
    assert len(desk.searched) == 1
    for question in asked:
        assert (question.kind, question.to) == ("plan", "ada")
        assert question.call["plan"]["steps"][0]["id"] == step["id"]


async def test_the_question_shows_each_step():
    asked = []
    step = {**ORDER, "description": "We are out of tea.", "needs": ["a"]}
    desk = Desk(plan(search("a"), step), "Done.", approve="effects")
    await desk.run(on_question=lambda question: asked.append(question.text) or {"decision": "approve"})

    assert asked[0].splitlines() == [
        "May buyer carry out this plan?",
        "- a: search(query='x') [read]",
        "- buy: order(article='tea', number=1) [once] after a. We are out of tea.",
    ]


async def test_a_changed_plan_is_carried_out_instead_and_the_model_is_told():
    changed = {"steps": [{**ORDER, "inputs": {"article": "tea", "number": 3}}]}
    desk = Desk(plan(ORDER), "Done.", approve="always")

    await desk.run(on_question=lambda question: {"decision": "approve", "plan": changed})

    assert desk.searched == ["ordered 3 tea"]
    assert "A person changed your plan" in desk.told
    assert [one.steps[0].inputs["number"] for one in desk.plans] == [1, 3]


async def test_a_changed_plan_that_does_not_do_is_asked_about_again():
    answers = [{"decision": "approve", "plan": {"steps": [{"id": "x", "tool": "sell"}]}}, {"decision": "approve"}]
    asked = []
    desk = Desk(plan(ORDER), "Done.", approve="always")

    await desk.run(on_question=lambda question: asked.append(question.text) or answers[len(asked) - 1])

    assert asked[1].startswith("The changed plan cannot be carried out: step 'x': There is no tool 'sell'.")
    assert desk.searched == ["ordered 1 tea"]
    assert len(desk.plans) == 1


async def test_a_plan_may_be_sent_back_with_words():
    cheaper = {**ORDER, "inputs": {"article": "water", "number": 1}}
    answers = [{"decision": "revise", "words": "Cheaper, please."}, {"decision": "approve"}]
    asked: list[Any] = []
    desk = Desk(plan(ORDER), plan(cheaper), "Done.", approve="always")

    await desk.run(on_question=lambda question: asked.append(1) or answers[len(asked) - 1])

    assert "A person wants another plan. Cheaper, please." in desk.model.requests[1].messages[-1].content
    assert desk.searched == ["ordered 1 water"]


async def test_a_rejected_plan_ends_the_run_with_the_words_and_nothing_is_done():
    desk = Desk(plan(ORDER), approve="always")

    with pytest.raises(Denied, match=r"The plan was rejected\. We have tea\.") as caught:
        await desk.run(on_question=lambda question: {"decision": "reject", "words": "We have tea."})

    assert caught.value.reason == "rejected"
    assert desk.searched == []
    assert [event.reason for event in desk.events if isinstance(event, RunFailed)] == ["rejected"]


async def test_nobody_to_ask_is_an_error_and_no_approval():
    desk = Desk(plan(ORDER), approve="always")

    with pytest.raises(ConfigError, match="on_question"):
        await desk.run()
    assert desk.searched == []


async def test_a_plan_whose_inputs_do_not_fit_is_mended_before_anything_happens():
    wrong = plan(search("a"), {"id": "buy", "tool": "order", "inputs": {"article": "tea", "number": "many"}})
    right = plan({"id": "buy", "tool": "order", "inputs": {"article": "tea", "number": 2}})
    desk = Desk(wrong, right, "Done.")

    await desk.run()

    assert desk.searched == ["ordered 2 tea"]
    told = desk.model.requests[1].messages[-1].content
    assert "step 'buy': the input number must be an integer, not a string" in told


async def test_a_step_that_asks_another_agent_is_ticked_when_that_has_answered():
    clerk = Agent("clerk", model=ScriptedModel(["It is 5."]), planner=PlanExecutePlanner(), description="Knows prices.")
    steps = plan({"id": "price", "tool": "clerk", "inputs": {"input": "Tea?"}}, search("find"))
    desk = Desk(steps, "It is 5.", tools=[clerk])

    await desk.run()

    ended = [event for event in desk.events if isinstance(event, PlanStepEnded)]
    assert {event.step: event.failed for event in ended} == {"price": False, "find": False}
    assert len(ended) == 2
