"""ReAct in plain text: what models write, and what is read in it."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn.agentkit import Agent, tool
from opspawn.contracts.model import ModelCapabilities, ToolCall
from opspawn.testing import ScriptedModel
from opspawn_planner_react import text
from opspawn_planner_react.planner import ReactPlanner


@tool(effect="read")
async def search(query: str) -> list[str]:
    """Search the handbook."""
    return [f"page on {query}"]


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


TOOLS = [search, add]


class PlainModel(ScriptedModel):
    """A model that cannot call tools."""

    def capabilities(self, model: str) -> ModelCapabilities:
        return ModelCapabilities(tools=False)


@pytest.mark.parametrize(
    "said",
    [
        'Thought: I look.\nAction: add\nAction Input: {"a": 1, "b": 2}',
        'THOUGHT: x\naction: ADD\naction input: {"a": 1, "b": 2}\n',
        '**Thought:** x\n**Action:** `add`\n**Action Input:** {"a": 1, "b": 2}',
        'Action: add\nAction Input:\n```json\n{\n  "a": 1,\n  "b": 2\n}\n```',
        "Action: add\nAction Input: {'a': 1, 'b': 2}",
        'Action: add({"a": 1, "b": 2})',
        'Action: add\nAction Input: {"a": 1, "b": 2}\nObservation: 4\nFinal Answer: 4',
        'Action: add\nAction Input: {"a": 1, "b": 2}\nFinal Answer: 3',
        'Action: add\nAction_Input: {"a": 1,\n"b": 2} and then I will know',
    ],
)
def test_a_call_is_read_however_it_is_written(said):
    assert text.read(said, TOOLS, 1) == text.Written((ToolCall("1.1", "add", {"a": 1, "b": 2}),))


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("Action: search\nAction Input: reset a token", {"query": "reset a token"}),
        ("Action: Search[reset a token]", {"query": "reset a token"}),
        ('Action: search\nAction Input: "reset a token"', {"query": "reset a token"}),
        (
            'Action: search\nAction Input: {"query": "a\nFinal Answer: no"}',
            {"query": "a\nFinal Answer: no"},
        ),
    ],
)
def test_a_tool_with_one_argument_takes_plain_text(said, arguments):
    assert text.read(said, TOOLS, 2).calls == (ToolCall("2.1", "search", arguments),)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Thought: I know.\nFinal Answer: In the settings.\nUnder Tokens.", "In the settings.\nUnder Tokens."),
        ("final answer: 3", "3"),
        ("In the settings.", "In the settings."),
        ("Action: Final Answer: 3", "3"),
        ('Action: Final Answer\nAction Input: {"answer": "3"}', "3"),
        ("Thought: hm", None),
        ("", None),
    ],
)
def test_an_answer_is_what_is_said_as_one_or_without_any_label(said, answer):
    assert text.read(said, TOOLS, 1) == text.Written(answer=answer)


def test_several_actions_are_several_calls():
    said = 'Action: search\nAction Input: {"query": "a"}\nAction: search\nAction Input: {"query": "b"}'

    assert text.read(said, TOOLS, 3).calls == (
        ToolCall("3.1", "search", {"query": "a"}),
        ToolCall("3.2", "search", {"query": "b"}),
    )


def test_what_is_no_json_is_kept_as_it_was_said():
    (call,) = text.read('Action: add\nAction Input: {"a": 1, "b":', TOOLS, 1).calls

    assert (call.arguments, call.malformed) == ({}, '{"a": 1, "b":')


@pytest.mark.parametrize(
    ("model", "mode"), [(PlainModel, "auto"), (ScriptedModel, "text")], ids=["by capability", "by setting"]
)
async def test_a_model_without_tool_calling_acts_in_text(model, mode):
    said = ["Thought: sum\nAction: add\nAction Input: {", 'Action: add\nAction Input: {"a": 1, "b": 2}', "Thought: so"]
    scripted = model([*said, "Thought: I know.\nFinal Answer: It is 3."])
    agent = Agent("helper", model=scripted, planner=ReactPlanner(mode=mode), tools=TOOLS, instructions="Be brief.")

    result = await agent.run("What is 1 + 2?")

    told: list[Any] = [request.messages[-1].content for request in scripted.requests]
    assert (result.output, result.reason) == ("It is 3.", "answered")
    assert all(request.tools == () for request in scripted.requests)
    assert scripted.requests[0].messages[0].content.startswith("Be brief.\n\nYou can use tools.")
    assert told[1].startswith("Observation: Error: The arguments were not a JSON object")
    assert told[2] == "Observation: 3"
    assert told[3] == text.FORM


async def test_an_unknown_tool_is_answered_in_words():
    model = PlainModel(['Action: serach\nAction Input: {"query": "x"}', "Final Answer: no"])

    await Agent("helper", model=model, planner=ReactPlanner(), tools=TOOLS).run("How?")

    assert "There is no tool 'serach'." in model.requests[1].messages[-1].content


async def test_a_model_that_may_know_tools_is_given_them():
    model = ScriptedModel(["Done."])

    await Agent("helper", model=model, planner=ReactPlanner(), tools=TOOLS).run("How?")

    assert [spec.name for spec in model.requests[0].tools] == ["search", "add"]
