"""What a run has used includes what the runs used that it started, wherever they ran."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ModelResponse, ToolCall, Usage
from opspawn.contracts.run import RunContext
from opspawn.contracts.run_events import RunEnded
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel, crash_everywhere, virtual_time
from opspawn.views import TaskView


def costs(said: Any) -> ModelResponse:
    used = Usage(10, 1, requests=1)
    return (
        ModelResponse(tool_calls=(said,), usage=used) if isinstance(said, ToolCall) else ModelResponse(said, usage=used)
    )


def agent(name: str, *below: Agent[Any, Any]) -> Agent[Any, Any]:
    """An agent that asks each of those below it once, and answers."""

    def says(request: Any) -> ModelResponse:
        turn = sum(message.role == "assistant" for message in request.messages)
        ask = ToolCall(str(turn), below[turn].name, {"input": "Well?"}) if turn < len(below) else "Done."
        return costs(ask)

    made: Any = Agent(name, model=ScriptedModel(says), planner=LoopPlanner(), tools=below, description="Helps.")
    return made


async def asks(ctx: RunContext) -> Any:
    """A function that asks an agent."""
    return await ctx.spawn("agent/middle", "Well?")


def app() -> App:
    middle = agent("middle", agent("leaf"))
    return App(agents=[agent("top", middle, agent("other"))], functions={"asks": asks})


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    settings = Settings(worker=WorkerSettings(poll_s=0.05), data=str(tmp_path))
    async with Host.open(app(), loaded=Loaded(settings, folder=tmp_path)) as host:
        yield host


async def used_by(host: Host, id: str) -> tuple[int, int]:
    [told] = [event.data["usage"] for event in await host.journal(id) if event.type == "agent.answered"]
    return told["requests"], told["input_tokens"]


async def test_an_agent_has_used_what_all_below_it_used(host: Host) -> None:
    task = await host.submit("agent/top", "Hello.")
    events = [event async for event in host.stream(task.id)]

    assert await used_by(host, task.id) == (7, 70)  # three of its own, two of middle, one of leaf, one of other
    end = events[-1]
    assert isinstance(end, RunEnded)
    assert end.usage.requests == 7


async def test_a_function_hands_on_what_its_agents_used(host: Host) -> None:
    task = await host.submit("function/asks", None)
    assert (await host.wait(task.id, 20)).result == "Done."
    [told] = [event.data for event in await host.journal(task.id) if event.type == "child.ended"]
    assert told["usage"] == {"input_tokens": 30, "output_tokens": 3, "requests": 3}


async def test_from_outside_the_names_are_those_of_events(host: Host) -> None:
    task = await host.submit("agent/middle", "Hello.")
    task = await host.wait(task.id, 20)
    [answered] = [event.data for event in await host.journal(task.id) if event.type == "agent.answered"]
    shown = TaskView.of(task, answered).to_json()["answered"]
    assert shown["reason"] == "answered"
    assert (shown["usage"]["inputTokens"], shown["usage"]["requests"], shown["usage"]["cost"]) == (30, 3, None)


@virtual_time
async def test_killed_anywhere_nothing_is_counted_twice() -> None:
    async def scenario(host: Host) -> Any:
        return await host.wait((await host.submit("agent/middle", "Hello.")).id, 1e6)

    for run in await crash_everywhere(app, scenario):
        told = [event.data["usage"]["requests"] for journal in run.journals.values() for event in journal
                if event.type == "agent.answered"]  # fmt: skip
        assert sorted(told) == [1, 3]
