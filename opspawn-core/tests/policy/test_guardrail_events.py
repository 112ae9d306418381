"""What those see who watch a run with guardrails: what passed, and who decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, Redact, Seen, guardrail, tool
from opspawn.agentkit.run_event_json import run_event_to_json
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ToolCall
from opspawn.contracts.policy import Verdict
from opspawn.contracts.run_events import (
    GuardrailDecided,
    ModelAnswered,
    RunEnded,
    RunEvent,
    TextDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel, capture_events

SECRET = "4111-1111"


@tool(effect="read")
async def look(name: str = "Ada") -> str:
    """Look a customer up."""
    return f"{name} has {SECRET}"


@guardrail(on=("output", "result"))
def no_cards(seen: Seen) -> Redact | None:
    text = str(seen.value)
    return Redact(text.replace(SECRET, "****"), "A card.") if SECRET in text else None


@guardrail(on="result")
def fine(seen: Seen) -> None:
    """Nothing against it."""


def desk(script: Any, *guardrails: Any, **options: Any) -> Agent[Any, Any]:
    made: Any = Agent(
        "desk", model=ScriptedModel(script), planner=LoopPlanner(), tools=[look], guardrails=guardrails, **options
    )
    return made


def say(request: Any) -> Any:
    last = request.messages[-1]
    return f"It is {SECRET}." if last.role == "tool" else ToolCall("1", "look", {})


async def watched(agent: Agent[Any, Any]) -> list[RunEvent]:
    told: list[RunEvent] = []
    await agent.run("Whose?", on_event=told.append)
    return told


async def journaled(agent: Agent[Any, Any], folder: Path) -> list[RunEvent]:
    loaded = Loaded(Settings(worker=WorkerSettings(poll_s=0.05), data=str(folder)), folder=folder)
    async with Host.open(App(agents=[agent]), loaded=loaded) as host:
        task = await host.submit("agent/desk", "Whose?")
        return [event async for event in host.stream(task.id)]


def decided(events: Sequence[RunEvent]) -> list[tuple[str, str, str, str | None]]:
    said = [event for event in events if isinstance(event, GuardrailDecided)]
    return [(one.guardrail, one.on, one.decision, one.tool) for one in said]


@pytest.mark.parametrize("durable", [False, True])
async def test_nobody_who_watches_sees_what_guardrails_took_out(durable: bool, tmp_path: Path) -> None:
    agent = desk(say, no_cards, fine)
    events = await (journaled(agent, tmp_path) if durable else watched(agent))

    assert SECRET not in str([run_event_to_json(event) for event in events])
    assert not [event for event in events if isinstance(event, TextDelta)]
    [ended] = [event for event in events if isinstance(event, ToolCallEnded)]
    assert (ended.content, ended.result) == ("Ada has ****", "Ada has ****")
    assert decided(events) == [
        ("no_cards", "result", "changed", "look"),
        ("fine", "result", "passed", "look"),
        ("no_cards", "output", "changed", None),
    ]
    end = events[-1]
    assert isinstance(end, RunEnded)
    assert end.output == "It is ****."


async def test_a_call_whose_result_is_held_back_ends_with_what_the_model_is_told() -> None:
    @guardrail(on="result")
    def closed(seen: Seen) -> Verdict:
        return Verdict("deny", "Private.")

    events = await watched(desk([ToolCall("1", "look", {}), "Sorry."], fine, closed))

    kinds = [event for event in events if isinstance(event, ToolCallStarted | ToolCallEnded)]
    assert [type(event) for event in kinds] == [ToolCallStarted, ToolCallEnded]
    ended = kinds[1]
    assert isinstance(ended, ToolCallEnded)
    assert (ended.is_error, ended.error_type, ended.result) == (True, "denied", None)
    assert ended.content == "The guardrail 'closed' held back the result of 'look'. Private."
    assert decided(events)[-1] == ("closed", "result", "held_back", "look")


async def test_a_typed_answer_is_held_back_in_the_call_that_gives_it() -> None:
    script = [ToolCall("1", "final_answer", {"card": SECRET})]
    schema: Any = {"type": "object", "properties": {"card": {"type": "string"}}}
    events = await watched(desk(script, no_cards, output=schema))

    assert SECRET not in str([run_event_to_json(event) for event in events])
    end = events[-1]
    assert isinstance(end, RunEnded)
    assert end.output == {"card": "****"}


async def test_a_guardrail_that_does_not_hold_lets_pieces_stream() -> None:
    @guardrail(on="output", hold=False)
    def later(seen: Seen) -> None:
        """Looks at the whole."""

    events = await watched(desk(["Hello, Ada."], later))

    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello, Ada."
    assert [event.text for event in events if isinstance(event, ModelAnswered)] == ["Hello, Ada."]


async def test_a_test_can_ask_what_guardrails_decided() -> None:
    agent = desk(say, no_cards)
    with capture_events(agent) as events:
        await agent.run("Whose?")

    events.assert_guarded("no_cards", "changed", on="output")
    with pytest.raises(AssertionError, match="'no_cards' has not held_back anything"):
        events.assert_guarded("no_cards")
