"""What agents get of a fleet: tools of their own, or the one tool `mcp`; durable, and under policy, either way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.config import Loaded
from opspawn.config.settings import PolicyRule, PolicySettings, Settings, WorkerSettings
from opspawn.contracts.model import ToolCall
from opspawn.contracts.store import Query
from opspawn.errors import ConfigError
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel
from opspawn_mcp.fleet import Fleet

from ._plain import Plain, approve, config_of

MakePlain = Callable[..., Plain]


@asynccontextmanager
async def at_work(
    folder: Path, agent: Agent, server: Plain, policy: PolicySettings | None = None, **settings: Any
) -> AsyncIterator[Host]:
    sections = {"mcp": {"servers": {server.name: server.settings(**settings)}, "root": str(folder)}}
    told = Settings(policy=policy or PolicySettings(), worker=WorkerSettings(poll_s=0.05), data=str(folder))
    async with Host.open(App(agents=[agent]), loaded=Loaded(told, sections=sections, folder=folder)) as host:
        yield host


def agent_of(*steps: Any, tools: list[str]) -> tuple[Agent, ScriptedModel]:
    model = ScriptedModel([*steps, "done"])
    return Agent("helper", model=model, planner=LoopPlanner(), tools=tools), model


def results(model: ScriptedModel) -> list[str]:
    return [one.content for one in model.requests[-1].messages if one.role == "tool"]


def offered(model: ScriptedModel) -> list[str]:
    return [spec.name for spec in model.requests[-1].tools]


async def approved(folder: Path, server: Plain) -> None:
    """Pin what the server says now."""
    fleet = Fleet(config_of(folder, {server.name: server.settings()}))
    await approve(fleet)
    await fleet.aclose()


def through_proxy(tool: str, **arguments: Any) -> ToolCall:
    return ToolCall("c", "mcp", {"action": "call", "tool": tool, "arguments": arguments})


async def test_selected_tools_are_tools_of_their_own(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["read_file", "read_folder", "write_file"])
    agent, model = agent_of(ToolCall("c", "plain__read_file", {"path": "a"}), tools=["mcp:plain/read_*"])
    async with at_work(tmp_path, agent, server, pin="off") as host:
        await host.dispatch("agent/helper", "go")

    assert offered(model) == ["plain__read_file", "plain__read_folder"]
    assert results(model) == ['{"path": "a"}']


async def test_approved_tools_are_offered_without_waiting_for_their_server(tmp_path: Path, plain: MakePlain) -> None:
    server = plain()
    await approved(tmp_path, server)
    server.change(start="silent")
    agent, model = agent_of(tools=["mcp:plain/*"])

    async with at_work(tmp_path, agent, server) as host:
        await host.dispatch("agent/helper", "go")

    assert offered(model) == ["plain__echo"]


@pytest.mark.parametrize("tools", [["mcp"], ["mcp:plain/*"]])
async def test_an_agent_without_a_grant_sees_nothing(tmp_path: Path, plain: MakePlain, tools: list[str]) -> None:
    agent, model = agent_of(ToolCall("c", "plain__echo", {}), through_proxy("plain/echo"), tools=tools)
    server = plain()

    async with at_work(tmp_path, agent, server, pin="off", agents=["other-*"]) as host:
        await host.dispatch("agent/helper", "go")

    assert offered(model) == []
    assert all("There is no tool" in said for said in results(model))
    assert server.calls() == []


async def test_a_selection_of_a_server_that_there_is_not_is_told_at_start(tmp_path: Path, plain: MakePlain) -> None:
    agent, _ = agent_of(tools=["mcp:plane/*"])

    with pytest.raises(ConfigError, match=r"'mcp:plane/\*' names no MCP server that is configured; there are: plain"):
        async with at_work(tmp_path, agent, plain()):
            pass


async def test_the_one_tool_lists_describes_and_calls(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["echo", {"name": "add", "description": "Adds two numbers.\nCarefully."}])
    agent, model = agent_of(
        ToolCall("1", "mcp", {"action": "list"}),
        ToolCall("2", "mcp", {"action": "list", "query": "numbers"}),
        ToolCall("3", "mcp", {"action": "describe", "tool": "plain/add"}),
        through_proxy("plain/add", a=1),
        ToolCall("5", "mcp", {"action": "call", "tool": "plain__add", "arguments": '{"a": 2}'}),
        tools=["mcp"],
    )

    async with at_work(tmp_path, agent, server, pin="off") as host:
        await host.dispatch("agent/helper", "go")

    all_of_it, some, described, *said = results(model)
    assert [one["tool"] for one in json.loads(all_of_it)["tools"]] == ["plain/add", "plain/echo"]
    assert json.loads(some)["tools"] == [{"tool": "plain/add", "about": "Adds two numbers."}]
    assert json.loads(described)["description"] == "Adds two numbers.\nCarefully."
    assert said == ['{"a": 1}', '{"a": 2}']
    assert offered(model) == ["mcp"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"action": "call", "tool": "nowhere/add"}, "SERVER/TOOL is meant, with one of the servers plain"),
        ({"action": "call", "tool": "plain/echo", "arguments": "no json"}, "arguments must be a JSON object"),
        ({"action": "drop"}, "action is 'drop'; list, describe and call are known"),
        ({"action": "call", "tool": "plain/ecko"}, "has no tool 'ecko'. Did you mean echo?"),
        ({"action": "describe", "tool": "plain/ecko"}, "plain/ecko cannot be used: the server does not have it"),
        ({"action": "list", "path": "x"}, "There is no argument 'path' of mcp"),
    ],
)
async def test_a_model_that_asks_wrongly_is_told_what_fits(
    tmp_path: Path, plain: MakePlain, arguments: dict[str, Any], words: str
) -> None:
    agent, model = agent_of(ToolCall("1", "mcp", {"action": "list"}), ToolCall("c", "mcp", arguments), tools=["mcp"])

    async with at_work(tmp_path, agent, plain(), pin="off") as host:
        await host.dispatch("agent/helper", "go")

    assert words in results(model)[-1]


@pytest.mark.parametrize(
    "call", [ToolCall("c", "plain__drop", {"table": "users"}), through_proxy("plain/drop", table="users")]
)
@pytest.mark.parametrize("by", ["the server's table", "the app's policy"])
async def test_a_rule_holds_whichever_way_a_tool_is_called(
    tmp_path: Path, plain: MakePlain, call: ToolCall, by: str
) -> None:
    server = plain(tools=["drop"])
    agent, model = agent_of(call, tools=["mcp", "mcp:plain/*"])
    rule = {"tool": "drop", "decision": "deny", "arguments": {"table": "user*"}, "reason": "Keep them."}
    own = {"rules": [rule]} if by == "the server's table" else {}
    policy = PolicySettings(rules=[PolicyRule(**{**rule, "tool": "plain__drop"})] if not own else [])

    async with at_work(tmp_path, agent, server, policy, pin="off", **own) as host:
        task = await host.dispatch("agent/helper", "go")
        denied = [event.data for event in await host.journal(task.id) if event.type == "policy.denied"]

    assert "Keep them." in results(model)[0]
    assert server.calls() == []
    assert [one["name"] for one in denied] == ["plain__drop"]


async def approval(host: Host) -> Any:
    """The open approval, once it is there."""
    for _ in range(500):
        if found := (await host.approvals(Query(where={"state": "open"}))).items:
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError("nobody asks")


async def test_an_approval_of_a_call_survives_a_restart_and_is_used_once(tmp_path: Path, plain: MakePlain) -> None:
    server = plain(tools=["drop"])
    settings: dict[str, Any] = {"pin": "off", "ask": ["drop"]}
    agent, _ = agent_of(through_proxy("plain/drop", table="old"), tools=["mcp"])
    async with at_work(tmp_path, agent, server, **settings) as host:
        task = await host.submit("agent/helper", "go")
        asked = await approval(host)
    assert asked.question.call["name"] == "plain__drop"
    assert asked.question.call["arguments"] == {"table": "old"}
    assert server.calls() == []

    agent, _ = agent_of(tools=["mcp"])
    async with at_work(tmp_path, agent, server, **settings) as host:
        await host.approve(asked.id, by="ann")
        ended = await host.wait(task.id, 20)

    assert ended.state == "succeeded"
    assert server.calls() == [["drop", {"table": "old"}]]


async def test_effects_are_what_the_operator_says_before_what_the_server_hints(
    tmp_path: Path, plain: MakePlain
) -> None:
    hinted = {"name": "look", "annotations": {"readOnlyHint": True}}
    fleet = Fleet(config_of(tmp_path, {"a": plain("a", tools=[hinted, "put"]).settings(pin="off")}))
    trusting = plain("b", tools=[hinted, "put"]).settings(pin="off", trust_hints=True, effects={"put": "idempotent"})
    other = Fleet(config_of(tmp_path, {"b": trusting}))
    await fleet.connect(["a"])
    await other.connect(["b"])

    assert [fleet.member("a").tool(name).effect for name in ("look", "put")] == ["once", "once"]
    assert [other.member("b").tool(name).effect for name in ("look", "put")] == ["read", "idempotent"]
    await fleet.aclose()
    await other.aclose()


@pytest.mark.parametrize(("effects", "calls"), [({"echo": "read"}, 2), ({}, 1)])
async def test_a_call_whose_server_dies_is_repeated_only_where_the_effect_allows(
    tmp_path: Path, plain: MakePlain, effects: dict[str, str], calls: int
) -> None:
    server = plain(call="die")
    agent, model = agent_of(ToolCall("c", "plain__echo", {}), tools=["mcp:plain/*"])

    async with at_work(tmp_path, agent, server, pin="off", effects=effects) as host:
        task = await host.submit("agent/helper", "go")
        for _ in range(500):
            if server.calls():
                break
            await asyncio.sleep(0.02)
        server.change()
        await host.wait(task.id, 20)

    assert len(server.calls()) == calls
    assert ("Whether the call was carried out is not known" in results(model)[0]) == (calls == 1)


async def test_images_reach_the_model_as_images(tmp_path: Path, plain: MakePlain) -> None:
    agent, model = agent_of(ToolCall("c", "plain__picture", {}), tools=["mcp:plain/*"])

    async with at_work(tmp_path, agent, plain(tools=["picture"]), pin="off") as host:
        await host.dispatch("agent/helper", "go")

    [part] = model.requests[-1].messages[-1].parts
    assert part.media_type == "image/png"


async def test_an_image_that_is_left_out_is_told_of(tmp_path: Path, plain: MakePlain) -> None:
    agent, model = agent_of(ToolCall("c", "plain__picture", {}), tools=["mcp:plain/*"])

    async with at_work(tmp_path, agent, plain(tools=["picture"], picture="no base64"), pin="off") as host:
        await host.dispatch("agent/helper", "go")

    said = model.requests[-1].messages[-1]
    assert "[Image, image/png, left out: it is broken, or larger than max_result_bytes.]" in said.content
