"""One call of a tool as a task of its own: `tool/call`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.config import load_settings
from opspawn.contracts.question import Question
from opspawn.contracts.store import Query
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.errors import InvalidInput, NotFound
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel

PATIENCE_S = 20.0


@tool(effect="read")
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(effect="once")
async def whose(context: ToolContext) -> str:
    """Say for whom it is called."""
    return context.agent


@tool(effect="idempotent")
async def book(context: ToolContext) -> str:
    """Ask for a day, then for another."""
    assert context.ask is not None
    days = [await context.ask(Question("Which day?")) for _ in range(2)]
    return " ".join(f"{one.value} by {one.by}" for one in days)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    loaded = load_settings(cwd=tmp_path, overrides={"worker.poll_s": 0.05, "policy.once": "ask"})
    async with Host.open(make_app(), loaded=loaded) as running:
        yield running


def make_app() -> App:
    return App(
        agents=[Agent("helper", model=ScriptedModel([]), planner=LoopPlanner(), tools=[whose])], tools=[add, book]
    )


async def test_it_is_durable_and_returns_what_the_tool_returns(host: Host) -> None:
    task = await host.dispatch("tool/call", {"tool": "add", "arguments": {"a": 1, "b": 2}}, wait_s=PATIENCE_S)

    assert task.result == 3
    assert "step.done" in [event.type for event in await host.journal(task.id)]


async def test_policies_decide_in_the_name_that_is_given(host: Host) -> None:
    task = await host.submit("tool/call", {"tool": "whose", "agent": "mcp/editor"})
    waiting = await host.question(await open_question(host))
    assert waiting.question.text.startswith("May mcp/editor call the tool whose")

    await host.approve(waiting.id)

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


async def open_question(host: Host) -> str:
    for _ in range(3000):
        if (page := await host.questions(Query(where={"state": "open"}, limit=5))).items:
            return page.items[0].id
        await asyncio.sleep(0.01)
    raise AssertionError("nobody asked")


async def test_a_tool_may_ask_and_the_same_question_again_is_another_one(host: Host) -> None:
    task = await host.submit("tool/call", {"tool": "book"})
    await host.answer(await open_question(host), "monday", by="ann")
    await host.answer(await open_question(host), "friday", by="bob")

    assert (await host.wait(task.id, PATIENCE_S)).result == "monday by ann friday by bob"


async def test_a_call_that_is_made_again_finds_what_it_was_answered(tmp_path: Path) -> None:
    loaded = load_settings(cwd=tmp_path, overrides={"worker.poll_s": 0.05, "worker.drain_s": 0.1})
    async with Host.open(make_app(), loaded=loaded) as host:
        task = await host.submit("tool/call", {"tool": "book"})
        await host.answer(await open_question(host), "monday", by="ann")
        await open_question(host)
    async with Host.open(make_app(), loaded=loaded) as host:
        await host.answer(await open_question(host), "friday", by="bob")
        ended = await host.wait(task.id, PATIENCE_S)

    assert ended.result == "monday by ann friday by bob"
