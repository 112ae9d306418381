"""The ReAct loop, run with a scripted model in the real context, in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from opspawn.agentkit import Agent, RunResult, tool
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, ToolCall
from opspawn.contracts.run_events import Custom
from opspawn.errors import ModelError, StepLimit
from opspawn.testing import ScriptedModel
from opspawn_planner_react import ReactConfig, opspawn_planners
from opspawn_planner_react.planner import ReactPlanner


@pytest.fixture
def log() -> list[str]:
    """What the tools were really called with."""
    return []


@pytest.fixture
def make(log: list[str]):  # type: ignore[no-untyped-def]
    """An agent with a search that always finds and a lookup that always fails."""

    @tool(effect="read")
    async def search(query: str) -> list[str]:
        """Search the handbook."""
        log.append(query)
        return [f"page on {query}"]

    @tool(effect="read")
    async def lookup(number: int) -> str:
        """Look up a ticket."""
        raise LookupError(f"no ticket {number}")

    def make(script: Any, *, max_repeats: int = 3, finish: bool = False, **changes: Any) -> tuple[Agent, ScriptedModel]:
        model = ScriptedModel(script)
        planner = ReactPlanner(max_repeats=max_repeats, finish=finish)
        given = {"instructions": "Be brief.", "tools": [search, lookup], **changes}
        return Agent("helper", model=model, planner=planner, **given), model

    return make


def call(number: int, query: str = "token") -> ToolCall:
    return ToolCall(str(number), "search", {"query": query})


async def test_an_answer_without_calls_is_the_result(make):
    agent, model = make(["In the settings."])

    result = await agent.run("How do I reset a token?")

    assert (result.output, result.reason) == ("In the settings.", "answered")
    assert model.requests[0].messages == (
        Message("system", "Be brief."),
        Message("user", "How do I reset a token?"),
    )


async def test_results_of_calls_go_back_to_the_model_in_the_order_of_the_calls(make, log):
    agent, model = make([[call(1, "token"), call(2, "reset")], "Done."])

    await agent.run("How?")

    assert model.requests[1].messages[2:] == (
        Message("assistant", "", (call(1, "token"), call(2, "reset"))),
        Message("tool", '["page on token"]', (), "1"),
        Message("tool", '["page on reset"]', (), "2"),
    )
    assert sorted(log) == ["reset", "token"]


async def test_a_failing_tool_is_told_to_the_model_which_goes_on(make):
    agent, model = make([ToolCall("1", "lookup", {"number": 7}), "There is no such ticket."])

    result = await agent.run("What is ticket 7?")

    assert result.output == "There is no such ticket."
    assert model.requests[1].messages[-1] == Message("tool", "LookupError: no ticket 7", (), "1", True)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (ToolCall("1", "search", {"question": "token"}), "query: is missing"),
        (ToolCall("1", "serach", {"query": "token"}), "There is no tool 'serach'."),
        (ToolCall("1", "search", {}, malformed='{"query": "tok'), "not a JSON object"),
    ],
)
async def test_a_wrong_call_is_explained_so_that_the_model_can_mend_it(make, log, wrong, words):
    agent, model = make([wrong, call(2), "Done."])

    result = await agent.run("How?")

    told = model.requests[1].messages[-1]
    assert told.is_error
    assert words in told.content
    assert result.output == "Done."
    assert log == ["token"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("plain", "plain"),
        ({"input": "wrapped"}, "wrapped"),
        ({"input": {"ticket": 7}}, '{"ticket":7}'),
        ({"input": "a", "more": "b"}, '{"input":"a","more":"b"}'),
        ({"ticket": 7, "words": ["é"]}, '{"ticket":7,"words":["é"]}'),
        ([1, None], "[1,null]"),
    ],
)
async def test_the_input_becomes_the_users_message(make, given, text):
    agent, model = make(["Done."])

    await agent.run(given)

    assert model.requests[0].messages[-1] == Message("user", text)


async def test_without_instructions_there_is_no_system_message(make):
    agent, model = make(["Done."], instructions="")

    await agent.run("How?")

    assert [message.role for message in model.requests[0].messages] == ["user"]


async def test_an_empty_answer_is_asked_for_once_more(make):
    agent, model = make([" \n", "Done."])

    result = await agent.run("How?")

    assert result.output == "Done."
    assert model.requests[1].messages[-1] == Message("user", "Your answer was empty. Answer now, or call a tool.")


async def test_two_empty_answers_in_a_row_are_invalid_output(make):
    agent, _ = make(["", ""])

    with pytest.raises(ModelError, match="answered with nothing, twice in a row") as caught:
        await agent.run("How?")

    assert caught.value.error_type == "invalid_output"


async def test_a_call_between_two_empty_answers_gives_a_new_chance(make):
    agent, _ = make(["", call(1), "", "Done."])

    assert (await agent.run("How?")).output == "Done."


@pytest.mark.parametrize(("finish_reason", "reason"), [("length", "length"), ("content_filter", "refused")])
async def test_an_answer_that_was_cut_off_says_so_in_reason_and_event(make, finish_reason, reason):
    cut = ModelResponse("In the sett", finish_reason=finish_reason)
    agent, _ = make([cut, cut])
    told: list[Any] = []

    result = await agent.run("How?", on_event=told.append)

    assert (result.output, result.reason) == ("In the sett", reason)
    (event,) = [event for event in told if isinstance(event, Custom) and event.name == "answer_cut_off"]
    assert event.data["finish_reason"] == finish_reason


async def test_nothing_at_all_for_a_limit_of_tokens_fails_at_once(make):
    agent, model = make([ModelResponse("", finish_reason="length")])

    with pytest.raises(ModelError, match=r"limit of tokens before it said anything\. Raise it") as caught:
        await agent.run("How?")

    assert (caught.value.error_type, caught.value.reason) == ("invalid_output", "length")
    assert len(model.requests) == 1


async def test_a_refusal_is_asked_about_once_and_then_the_end(make):
    agent, model = make([ModelResponse("", finish_reason="content_filter")] * 2)

    with pytest.raises(ModelError, match="content filter withheld the answer") as caught:
        await agent.run("How?")

    assert (caught.value.error_type, caught.value.reason) == ("content_filter", "refused")
    assert model.requests[1].messages[-1].content.startswith("Your answer was withheld.")


async def test_who_answers_when_asked_again_has_answered(make):
    agent, _ = make([ModelResponse("", finish_reason="content_filter"), "In the settings."])

    result = await agent.run("How?")

    assert (result.output, result.reason) == ("In the settings.", "answered")


async def test_the_same_few_calls_in_turn_are_a_circle_too(make, log):
    agent, model = make([call(n, "ab"[n % 2]) for n in range(7)])

    with pytest.raises(StepLimit, match="turns in circles") as caught:
        await agent.run("How?")

    assert caught.value.reason == "loop"
    assert log == ["a", "b", "a", "b", "a"]
    assert "asked for this 3 times in a row" in model.requests[6].messages[-1].content


@pytest.mark.parametrize(
    ("script", "reason"), [([call(n) for n in range(4)], "loop"), ([call(1), call(2)], "step_limit")]
)
async def test_with_finish_a_limit_ends_with_what_the_model_knows(make, script, reason):
    agent, model = make([*script, "As far as I know."], finish=True, max_steps=4 if reason == "loop" else 2)

    result = await agent.run("How?")

    assert (result.output, result.reason) == ("As far as I know.", reason)
    assert model.requests[-1].tools == ()
    assert "final answer now" in model.requests[-1].messages[-1].content
    assert not model.requests[-1].messages[-2].tool_calls


async def test_a_conversation_that_is_too_long_goes_on_with_less_of_older_results(make):
    @tool(effect="read")
    async def read_all() -> str:
        """Read everything."""
        return "x" * 2000

    long = ModelError("Too long.", error_type="context_overflow")
    agent, model = make([ToolCall("1", "read_all"), ToolCall("2", "read_all"), long, "Done."], tools=[read_all])

    result = await agent.run("How?")

    told = [len(message.content) for message in model.requests[-1].messages if message.role == "tool"]
    assert result.output == "Done."
    assert told[0] < 500 < told[1]


async def test_a_conversation_that_cannot_be_shortened_says_why_it_ended(make):
    agent, _ = make([ModelError("Too long.", error_type="context_overflow")])
    told: list[Any] = []

    with pytest.raises(ModelError, match="Too long"):
        await agent.run("How?", on_event=told.append)

    assert (told[-1].type, told[-1].reason) == ("run_failed", "context_overflow")


async def test_the_third_same_call_in_a_row_is_not_carried_out_and_the_model_is_told(make, log):
    agent, model = make([call(1), call(2), call(3), "Done."])

    result = await agent.run("How?")

    assert result.output == "Done."
    assert log == ["token", "token"]
    told = model.requests[3].messages[-1]
    assert (told.role, told.tool_call_id, told.is_error) == ("tool", "3", True)
    assert "asked for this 3 times in a row" in told.content


async def test_a_model_that_goes_on_turning_in_circles_is_stopped(make, log):
    agent, _ = make([call(1), call(2), call(3), call(4), "Done."])

    with pytest.raises(StepLimit) as caught:
        await agent.run("How?")

    assert caught.value.message == (
        'The model turns in circles: it asked 4 times in a row for search({"query":"token"}).'
    )
    assert log == ["token", "token"]


async def test_another_call_in_between_ends_the_circle(make, log):
    agent, _ = make([call(1), call(2), call(3, "other"), call(4), call(5), "Done."])

    await agent.run("How?")

    assert log == ["token", "token", "other", "token", "token"]


async def test_how_many_repeats_are_allowed_is_a_setting(make, log):
    agent, _ = make([call(1), call(2), call(3), call(4), "Done."], max_repeats=10)

    await agent.run("How?")

    assert log == ["token"] * 4


async def test_the_limit_of_steps_counts_model_calls(make):
    def always(request: ModelRequest) -> ToolCall:
        return call(len(request.messages), f"query {len(request.messages)}")

    agent, model = make(always, max_steps=5)

    with pytest.raises(
        StepLimit, match=r"The agent 'helper' made 5 model calls and has no answer\. Raise its max_steps"
    ):
        await agent.run("How?")

    assert len(model.requests) == 5


async def test_one_planner_serves_many_runs_at_once(make):
    def script(request: ModelRequest) -> str | ToolCall:
        asked = request.messages[1].content
        return call(1, asked) if len(request.messages) == 2 else f"{asked}: {request.messages[-1].content}"

    agent, _ = make(script)

    results: list[RunResult] = await asyncio.gather(*[agent.run(f"q{number}") for number in range(20)])

    assert [result.output for result in results] == [f'q{n}: ["page on q{n}"]' for n in range(20)]


def test_the_plugin_offers_react():
    (record,) = opspawn_planners()

    assert record.name == "react"
    assert isinstance(record.open(record.config(max_repeats=5)), ReactPlanner)


def test_fewer_than_two_repeats_cannot_be_set():
    with pytest.raises(ValidationError):
        ReactConfig(max_repeats=1)
