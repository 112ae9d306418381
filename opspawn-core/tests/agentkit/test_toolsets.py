"""Toolsets and other sources: tools combined, renamed, chosen per run, coming and going."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from opspawn import Agent, Toolset, tool
from opspawn.contracts.model import ToolCall
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.errors import ConfigError, OpspawnError
from opspawn.testing import LoopPlanner, ScriptedModel


@tool(effect="read")
async def find(word: str) -> str:
    """Find."""
    return f"found {word}"


@tool(effect="read")
async def delete(word: str) -> str:
    """Delete."""
    return f"deleted {word}"


class Shelf:
    """A source whose tools a test changes."""

    name = "shelf"

    def __init__(self, *tools: Any) -> None:
        self.now: list[Tool] = list(tools)
        self.asked: list[ToolContext] = []

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        self.asked.append(context)
        return self.now


def helper(script: Any, *tools: Any) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel(script)
    return Agent("helper", model=model, planner=LoopPlanner(), tools=list(tools)), model


def offered(model: ScriptedModel) -> list[list[str]]:
    return [[spec.name for spec in request.tools] for request in model.requests]


def told(model: ScriptedModel) -> str:
    return model.requests[-1].messages[-1].content


async def test_a_toolset_puts_a_prefix_before_its_names_and_renames() -> None:
    crm = Toolset("crm", [find, delete], prefix="crm_", rename={"delete": "remove"})
    agent, model = helper([ToolCall("1", "crm_remove", {"word": "a"}), "-"], crm)

    await agent.run("?")

    assert agent.tool_names == ("crm_find", "crm_remove")
    assert told(model) == "deleted a"


async def test_faults_name_a_renamed_tool_as_the_model_knows_it() -> None:
    agent, model = helper([ToolCall("1", "crm_find", {}), "-"], Toolset("crm", [find], prefix="crm_"))

    await agent.run("?")

    assert told(model).startswith("The arguments of the tool 'crm_find' do not fit.")


def test_toolsets_combine() -> None:
    inner = Toolset("inner", [find], prefix="b_")

    assert Agent("a", tools=[Toolset("outer", [inner, delete], prefix="a_")]).tool_names == ("a_b_find", "a_delete")


async def test_a_filter_chooses_tools_for_each_run_by_what_it_was_started_with() -> None:
    def allowed(one: Tool, context: ToolContext) -> bool:
        return one.effect == "read" and (one.name != "delete" or context.deps == "admin")

    agent, model = helper(
        [ToolCall("1", "delete", {"word": "a"}), "-"] * 2, Toolset("all", [find, delete], filter=allowed)
    )

    await agent.run("?", deps="guest")
    refused = told(model)
    await agent.run("?", deps="admin")

    assert offered(model) == [["find"], ["find"], ["find", "delete"], ["find", "delete"]]
    assert refused == "There is no tool 'delete'. Tools: find."
    assert told(model) == "deleted a"


async def test_a_filter_may_be_async() -> None:
    async def none(one: Tool, context: ToolContext) -> bool:
        return False

    agent, model = helper(["-"], Toolset("all", [find], filter=none))

    await agent.run("?")

    assert offered(model) == [[]]


async def test_a_source_is_asked_once_per_model_call_and_its_tools_come_and_go() -> None:
    shelf = Shelf(find)

    @tool(effect="read")
    async def swap() -> str:
        shelf.now = [delete]
        return "swapped"

    agent, model = helper([ToolCall("1", "swap", {}), ToolCall("2", "find", {"word": "a"}), "-"], swap, shelf)

    await agent.run("?", deps=7)

    assert offered(model) == [["swap", "find"], ["swap", "delete"], ["swap", "delete"]]
    assert told(model) == "There is no tool 'find'. Tools: swap, delete."
    assert [context.deps for context in shelf.asked] == [7, 7, 7]


async def test_a_source_behind_a_toolset_is_renamed_and_may_have_any_sort_of_tool() -> None:
    class Foreign:
        name, description, parameters = "ask", "Ask.", {"type": "object"}
        effect, timeout_s = "read", None

        async def call(self, arguments: Any, context: ToolContext) -> Any:
            return "an answer"

    agent, model = helper([ToolCall("1", "far_ask", {}), "-"], Toolset("far", [Shelf(Foreign())], prefix="far_"))

    await agent.run("?")

    assert told(model) == "an answer"


async def test_two_tools_of_one_name_end_the_run_with_the_remedy() -> None:
    agent, _ = helper(["-"], find, Shelf(find))

    with pytest.raises(OpspawnError, match=r"The source 'shelf' offers the tool 'find', and another .* prefix="):
        await agent.run("?")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Toolset("x", [find], rename={"fnd": "a"}), "renames 'fnd', which is not in it"),
        (lambda: Toolset("x", [find], prefix="a b"), "'a bfind' is not a tool's name"),
        (lambda: Toolset("x", find), "a list is meant"),
        (lambda: Toolset("x", [5]), "int is not a tool"),
        (lambda: Agent("a", tools=[find, Toolset("x", [find])]), "two tools named 'find'"),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
