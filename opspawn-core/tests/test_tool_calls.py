"""One call of a tool as a task of its own: `tool/call`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.config import load_settings
from opspawn.contracts.store import Query
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.errors import InvalidInput, NotFound
from opspawn.host import Host
from opspawn.testing import ScriptedModel

PATIENCE_S = 20.0


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(effect="once")
async def whose(context: ToolContext) -> str:
    """Say for whom it is called."""
    return context.agent


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    loaded = load_settings(cwd=tmp_path, overrides={"worker.poll_s": 0.05, "policy.once": "ask"})
    app = App(agents=[Agent("helper", model=ScriptedModel([]), tools=[whose])], tools=[add])
    async with Host.open(app, loaded=loaded) as running:
        yield running


async def test_it_is_durable_and_returns_what_the_tool_returns(host: Host) -> None:
    task = await host.dispatch("tool/call", {"tool": "add", "arguments": {"a": 1, "b": 2}}, wait_s=PATIENCE_S)

    assert task.result == 3
    assert "step.done" in [event.type for event in await host.journal(task.id)]


async def test_policies_decide_in_the_name_that_is_given(host: Host) -> None:
    task = await host.submit("tool/call", {"tool": "whose", "agent": "mcp/editor"})
    waiting = []
    while not waiting:
        waiting = (await host.approvals(Query(where={"state": "open"}, limit=5))).items  # type: ignore[assignment]
    assert waiting[0].question.text.startswith("May mcp/editor call the tool whose")

    await host.approve(waiting[0].id)

    assert (await host.wait(task.id, PATIENCE_S)).result == "mcp/editor"


@pytest.mark.parametrize(
    ("input", "words"),
    [
        (None, "needs the name of a tool"),
        ({"tool": "add", "args": {}}, "has no member 'args'"),
        ({"tool": "add", "arguments": [1]}, "must be an object"),
        ({"tool": "add", "agent": 1}, "are texts"),
        ({"tool": "x", "source": "add"}, "add"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_is_kept(host: Host, input: Any, words: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        await host.submit("tool/call", input)

    assert words in str(raised.value)
    assert not (await host.tasks(Query(limit=5))).items


async def test_a_tool_that_is_not_there_is_named(host: Host) -> None:
    with pytest.raises(NotFound, match="There is no tool 'sub'"):
        await host.submit("tool/call", {"tool": "sub"})


async def test_tools_are_offered_by_name(host: Host) -> None:
    offered: Sequence[Tool] = [one.tool for one in await host.tools(["whose", "add"])]

    assert [one.name for one in offered] == ["whose", "add"]
    with pytest.raises(NotFound):
        await host.tools(["sub"])
