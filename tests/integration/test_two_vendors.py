"""Two vendors over real HTTP, one agent: when the first is overloaded in mid-answer, the second goes on, durably."""

from __future__ import annotations

from pathlib import Path

import pytest

from opspawn import Agent, App, tool
from opspawn.contracts.events import TaskDelta
from opspawn.contracts.model import Image
from opspawn.host import Host
from opspawn.testing.anthropic_server import AnthropicServer
from opspawn.testing.anthropic_server import CallTools as ClaudeCalls
from opspawn.testing.openai_server import BreakStream, CallTools, Fail, OpenAIServer, Say

MODELS = ["openai:gpt-5", "anthropic:claude-opus-5"]
DOT = Image(b"\x89PNG dot", "image/png")


@tool(effect="read")
async def look(place: str) -> list[object]:
    """Look at a place."""
    return [f"This is {place}:", DOT]


def app(models: list[str] | str) -> App:
    return App(agents=[Agent("scout", model=models, tools=[look], instructions="Look around.")])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_the_second_goes_on_where_the_first_broke_off(tmp_path: Path, dialect: str) -> None:
    """With the first one's calls and results, images included, and without its thoughts."""
    first = [
        CallTools([("look", {"place": "here"})], reasoning="Hm."),
        BreakStream(2, Say("Half an answer"), error=503),
    ]
    async with OpenAIServer(first) as one, AnthropicServer([Say("A dot.", reasoning="I see.")]) as two:
        sections = {
            "openai": {"base_url": one.base_url, "dialect": dialect, "server": "openai"},
            "anthropic": {"base_url": two.base_url},
            "fallback": {"tries": 1},
        }
        async with Host.open(app(MODELS), data=tmp_path, sections=sections) as host:
            deltas = []
            task = await host.submit("agent/scout", "What is here?")
            async for item in host.tail(after=0):
                if isinstance(item, TaskDelta):
                    deltas.append(item.data)
                elif item.task == task.id and item.type in ("task.succeeded", "task.failed"):
                    break
            task = await host.task(task.id)
            journal = await host.journal(task.id)

    assert task.result == "A dot."
    sources = [e.data["result"]["source"] for e in journal if e.type == "step.done" and e.data["kind"] == "think"]
    assert sources == MODELS
    (asked,) = two.requests
    _, question, said, result = asked["messages"]
    assert (question["content"], said["reasoning"], said["tool_calls"][0]["name"]) == ("What is here?", [], "look")
    assert (result["content"], result["images"]) == ("This is here:", 1)
    if deltas:  # best effort: a listener may miss some
        assert "restart" in [delta["kind"] for delta in deltas]


async def test_one_agent_the_other_way_round(tmp_path: Path) -> None:
    """From the second vendor to the first, whose ids look different."""
    calls = ClaudeCalls([("look", {"place": "here"})], reasoning="Let me look.")
    async with AnthropicServer([calls, Fail(529)]) as one, OpenAIServer([Say("A dot.")]) as two:
        sections = {
            "openai": {"base_url": two.base_url, "dialect": "responses"},
            "anthropic": {"base_url": one.base_url},
            "fallback": {"tries": 1},
        }
        async with Host.open(app(MODELS[::-1]), data=tmp_path, sections=sections) as host:
            task = await host.submit("agent/scout", ["What is this?", DOT])
            task = await host.wait(task.id, timeout_s=30)

    assert task.result == "A dot."
    _, question, said, result = two.requests[0]["messages"]
    assert (question["content"], question["images"], said["reasoning"]) == ("What is this?", 1, [])
    assert (result["content"], result["images"]) == ("This is here:", 1)
