"""Sources of tools and sandboxes that come from plugins, by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from opspawn import Agent, Sandbox, Toolset, tool
from opspawn.agentkit import Kit
from opspawn.contracts.model import ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.plugins import PluginRecord, SandboxPlugin, ToolPlugin, ToolSourcePlugin
from opspawn.contracts.run import AgentContext
from opspawn.contracts.sandbox import SandboxCall
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.errors import ConfigError
from opspawn.plugins import Plugins
from opspawn.plugins.kinds import kind_of
from opspawn.plugins.status import Found
from opspawn.testing import ScriptedModel


@tool(effect="read")
async def web(url: str) -> str:
    """Fetch a page."""
    return url


class Shelf:
    name = "shelf"

    def __init__(self) -> None:
        self.closed = False

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        return [web]

    async def aclose(self) -> None:
        self.closed = True


class Cage:
    """A sandbox that notes what it carries out, in place."""

    def __init__(self) -> None:
        self.calls: list[SandboxCall] = []
        self.closed = False

    def check(self, tool: str, function: Any) -> None:
        if tool == "wild":
            raise ConfigError("The tool 'wild' cannot be caged.")

    async def run(self, call: SandboxCall) -> Any:
        self.calls.append(call)
        return await call.here()

    async def aclose(self) -> None:
        self.closed = True


class Once:
    """Acts once on what the model says, and answers with it."""

    async def run(self, context: AgentContext) -> PlannerResult:
        response = await context.think([])
        return PlannerResult([result.content for result in await context.act(response.tool_calls)])


def kit(*records: PluginRecord) -> Kit:
    named = [(kind_of(type(record)), record) for record in records]
    return Kit(Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=named)]))


def asks() -> ScriptedModel:
    return ScriptedModel([ToolCall("1", "web", {"url": "a"})])


async def test_a_source_of_a_plugin_is_named_like_a_tool_and_closed_with_the_kit() -> None:
    shelf = Shelf()
    own = kit(ToolSourcePlugin("shelf", lambda _: shelf))

    result = await Agent("a", model=asks(), planner=Once(), tools=["shelf"]).run("?", kit=own)
    await own.aclose()

    assert result.output == ["a"]
    assert shelf.closed


def test_a_tool_and_a_source_of_one_name_clash() -> None:
    own = kit(ToolPlugin("web", lambda _: web), ToolSourcePlugin("web", lambda _: Shelf()))

    with pytest.raises(ConfigError, match="The tool 'web' is offered by"):
        own.tool_or_source("web")


@pytest.mark.parametrize("tools", [[web], ["shelf"], [Toolset("t", [web], filter=lambda *_: True)]])
async def test_a_sandbox_of_a_plugin_carries_out_calls_of_whatever_is_a_function(tools: list[Any]) -> None:
    cage = Cage()
    own = kit(SandboxPlugin("cage", lambda _: cage), ToolSourcePlugin("shelf", lambda _: Shelf()))
    agent = Agent("a", model=asks(), planner=Once(), tools=tools, sandbox=Sandbox("cage", memory_mb=64))

    result = await agent.run("?", kit=own)
    await own.aclose()

    assert result.output == ["a"]
    assert [(call.tool, call.arguments, call.sandbox.memory_mb) for call in cage.calls] == [("web", {"url": "a"}, 64)]
    assert cage.closed


async def test_a_tools_own_sandbox_goes_before_that_of_its_agent() -> None:
    cage, other = Cage(), Cage()
    own = kit(SandboxPlugin("cage", lambda _: cage), SandboxPlugin("other", lambda _: other))
    caged = tool(effect="read", sandbox="other")(web.__wrapped__)

    await Agent("a", model=asks(), planner=Once(), tools=[caged], sandbox="cage").run("?", kit=own)

    assert (len(cage.calls), len(other.calls)) == (0, 1)


async def test_a_function_that_a_sandbox_refuses_is_refused_before_the_run() -> None:
    own = kit(SandboxPlugin("cage", lambda _: Cage()))
    wild = tool(effect="read", name="wild")(web.__wrapped__)

    with pytest.raises(ConfigError, match="cannot be caged"):
        await Agent("a", model=asks(), planner=Once(), tools=[wild], sandbox="cage").run("?", kit=own)


def test_the_sandboxes_of_the_core_come_through_the_same_door() -> None:
    plugins = Plugins.load(quiet=True)

    assert {"none", "thread", "process"} <= {record.name for record in plugins.records("sandbox")}
