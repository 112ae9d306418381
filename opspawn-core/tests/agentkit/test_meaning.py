"""Tools that stand for others, tools that bring a policy, and parts of sources."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from opspawn import Agent, App, Policy, Rule, tool
from opspawn.agentkit.kit import Kit
from opspawn.contracts.model import ToolCall
from opspawn.contracts.planner import AgentContext, PlannerResult
from opspawn.contracts.plugins import PluginRecord, ToolPlugin, ToolSourcePlugin
from opspawn.contracts.policy import Verdict
from opspawn.errors import ConfigError, Denied
from opspawn.plugins import Plugins
from opspawn.plugins.kinds import kind_of
from opspawn.plugins.status import Found
from opspawn.testing import ScriptedModel, TestEnvironment, virtual_time

PAID: list[int] = []


@tool
async def pay(amount: int) -> str:
    """Pay."""
    PAID.append(amount)
    return f"paid {amount}"


@pytest.fixture(autouse=True)
def nothing_paid() -> None:
    PAID.clear()


class Desk:
    """Stands for `pay`."""

    name, description, effect, timeout_s = "desk", "", "read", None
    parameters: dict[str, Any] = {"type": "object"}  # noqa: RUF012

    def meant(self, arguments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return (pay, arguments["with"]) if "with" in arguments else (self, arguments)

    async def call(self, arguments: dict[str, Any], context: Any) -> Any:
        return "nothing was meant"


class Once:
    """Acts once on what the model says, and answers with it."""

    async def run(self, context: AgentContext) -> PlannerResult:
        response = await context.think([])
        return PlannerResult([result.content for result in await context.act(response.tool_calls)])


def agent(arguments: dict[str, Any], **more: Any) -> Agent:
    return Agent("a", model=ScriptedModel([ToolCall("1", "desk", arguments)]), planner=Once(), tools=[Desk()], **more)


async def test_a_call_is_carried_out_by_the_tool_that_is_meant() -> None:
    assert (await agent({"with": {"amount": 5}}).run("?")).output == ["paid 5"]
    assert (await agent({}).run("?")).output == ["nothing was meant"]


async def test_policies_decide_on_the_tool_that_is_meant() -> None:
    policy = Policy([Rule("deny", tool="pay", arguments={"amount": {"above": 3}}, reason="Too much.")])

    [said] = (await agent({"with": {"amount": 5}}, policies=[policy]).run("?")).output

    assert "Too much." in said
    assert PAID == []


@virtual_time
async def test_the_effect_of_the_tool_that_is_meant_counts_in_a_durable_run() -> None:
    """`pay` declares none, so its intent is journaled; the one that stands for it only reads."""
    async with TestEnvironment(App(agents=[agent({"with": {"amount": 5}})])) as env:
        task = await env.wait(await env.submit("agent/a", "?"))

        started = [event.data for event in await env.journal(task) if event.type == "step.started"]

    assert [one["name"] for one in started] == ["desk"]


@virtual_time
async def test_a_function_means_it_alike() -> None:
    async def work(ctx: Any) -> Any:
        return await ctx.call(Desk(), {"with": {"amount": 7}})

    async with TestEnvironment(App(functions={"work": work})) as env:
        assert await env.run("function/work") == "paid 7"


class Careful:
    """A tool that forbids its own calls."""

    name, description, effect, timeout_s = "careful", "", "read", None
    parameters: dict[str, Any] = {"type": "object"}  # noqa: RUF012

    @property
    def decider(self) -> Any:
        return lambda considered: Verdict("deny", f"Not {considered.name}.")

    async def call(self, arguments: dict[str, Any], context: Any) -> Any:
        raise AssertionError("it was called")


@virtual_time
async def test_a_policy_that_a_tool_brings_counts_though_nobody_names_it() -> None:
    async def work(ctx: Any) -> Any:
        try:
            await ctx.call(Careful(), {})
        except Denied as denied:
            return denied.message

    async with TestEnvironment(App(functions={"work": work})) as env:
        assert await env.run("function/work") == "'careful' was not carried out: it is not allowed. Not careful."


class Shelf:
    """A source of which parts can be named."""

    name = "shelf"

    def __init__(self, part: str = "") -> None:
        self.part = part

    def select(self, part: str) -> Shelf:
        if part != "money/*":
            raise ConfigError(f"There is no part {part!r}.")
        return Shelf(part)

    async def tools(self, context: Any) -> list[Any]:
        return [pay] if self.part else []


def kit(*records: PluginRecord) -> Kit:
    named = [(kind_of(type(record)), record) for record in records]
    return Kit(Plugins([Found(EntryPoint("given", "given", "opspawn"), "given", "1", records=named)]))


async def test_a_part_of_a_source_is_named_after_a_colon() -> None:
    own = kit(ToolSourcePlugin("shelf", lambda _: Shelf()), ToolPlugin("pay", lambda _: pay))
    model = ScriptedModel([ToolCall("1", "pay", {"amount": 1})])

    result = await Agent("a", model=model, planner=Once(), tools=["shelf:money/*"]).run("?", kit=own)

    assert result.output == ["paid 1"]
    with pytest.raises(ConfigError, match=r"There is no part 'other/\*'"):
        own.tool_or_source("shelf:other/*")
    with pytest.raises(ConfigError, match="names a part of the tool 'pay', which has none"):
        own.tool_or_source("pay:x/*")
