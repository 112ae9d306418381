"""The events of a run: which there are, what each tells, and that they are the same in memory and from a journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never, get_args

import pytest

from opspawn import Agent, App, ToolError, tool
from opspawn.agentkit.run_event_json import run_event_from_json, run_event_schema, run_event_to_json
from opspawn.agentkit.telling import Teller
from opspawn.contracts.content import Reasoning, Text
from opspawn.contracts.model import ModelResponse, ToolCall, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.run_events import (
    Custom,
    Failure,
    Handoff,
    ModelAnswered,
    QuestionAnswered,
    QuestionAsked,
    Retrying,
    RunEnded,
    RunEvent,
    RunFailed,
    RunHalted,
    RunStarted,
    StepEnded,
    SubAgentEnded,
    SubAgentStarted,
    ToolCallEnded,
    ToolCallStarted,
)
from opspawn.host import Host
from opspawn.testing import LoopPlanner, ScriptedModel

KINDS = get_args(get_args(RunEvent)[0])


@tool(effect="read")
async def search(query: str) -> list[str]:
    """Search."""
    if query == "moon":
        raise ToolError("Nothing on the moon.")
    return [f"About {query}."]


def make_app() -> App:
    """An agent that calls tools well and badly, asks another agent, and answers."""
    finder = Agent("finder", model=ScriptedModel(["Found it."]), planner=LoopPlanner(), description="Finds.")
    calls = [
        ToolCall("1", "search", {"query": "token"}),
        ToolCall("2", "search", {"query": "moon"}),
        ToolCall("3", "serch", {}),
        ToolCall("4", "search", malformed="{oops"),
        ToolCall("5", "finder", {"input": "Where?"}),
    ]
    first = ModelResponse(
        tool_calls=tuple(calls),
        parts=(Reasoning("Hm."), Text("Let me see.")),
        text="Let me see.",
        usage=Usage(7, 5, requests=1),
        source="test:m",
        finish_reason="tool_calls",
    )
    model = ScriptedModel([first, "In the settings."])
    return App(agents=[Agent("helper", model=model, planner=LoopPlanner(), tools=[search, finder]), finder])


async def in_memory() -> list[RunEvent]:
    told: list[RunEvent] = []
    await make_app().agents["helper"].run("How?", on_event=told.append)
    return told


async def durably(folder: Path) -> list[RunEvent]:
    async with Host.open(make_app(), data=folder) as host:
        task = await host.submit("agent/helper", "How?")
        async with asyncio.timeout(30):
            return [event async for event in host.stream(task.id)]


def settled(events: Sequence[RunEvent]) -> list[RunEvent]:
    """What is journaled, without the names and times that differ from run to run; parallel calls in order."""
    names: dict[str, str] = {}
    plain: list[RunEvent] = []
    for event in events:
        if event.type.endswith("_delta"):
            continue
        run = names.setdefault(event.run, f"run {len(names)}")
        event = replace(event, run=run, id=None, time=None)
        if isinstance(event, RunStarted):
            event = replace(event, session=None)
        if isinstance(event, ModelAnswered | ToolCallEnded | StepEnded):
            event = replace(event, duration_s=0.0)
        if isinstance(event, SubAgentStarted | SubAgentEnded):
            event = replace(event, child=names.setdefault(event.child, f"run {len(names)}"))
        plain.append(event)
    return sorted(plain, key=lambda event: (event.run, event.type in ("tool_call_ended", "sub_agent_started")))


async def test_a_durable_run_tells_the_same_events_as_one_in_memory(tmp_path: Path) -> None:
    assert settled(await durably(tmp_path)) == settled(await in_memory())


async def test_every_call_that_begins_ends_once_whatever_comes_of_it() -> None:
    told = await in_memory()

    began = [event.call for event in told if isinstance(event, ToolCallStarted)]
    ended = {event.call: event for event in told if isinstance(event, ToolCallEnded)}
    assert began == ["1", "2", "3", "4", "5"]
    assert {call: event.error_type for call, event in ended.items()} == {
        "1": None, "2": "tool_error", "3": "not_found", "4": "invalid_input", "5": None
    }  # fmt: skip
    assert ended["1"].result == ["About token."]
    assert ended["2"].content == "Nothing on the moon."
    assert "Did you mean 'search'?" in ended["3"].content
    assert ended["5"].result == "Found it."


async def test_an_answer_tells_text_thoughts_calls_usage_and_model() -> None:
    answers = [event for event in await in_memory() if isinstance(event, ModelAnswered)]

    first = answers[0]
    assert (first.agent, first.text, first.reasoning, first.model) == ("helper", "Let me see.", "Hm.", "test:m")
    assert [call.id for call in first.calls] == ["1", "2", "3", "4", "5"]
    assert (first.usage, first.finish_reason) == (Usage(7, 5, requests=1), "tool_calls")
    assert [(answer.agent, answer.text) for answer in answers[1:]] == [
        ("finder", "Found it."),
        ("helper", "In the settings."),
    ]


async def test_a_run_begins_once_and_ends_once_with_the_usage_of_all(tmp_path: Path) -> None:
    for told in (await in_memory(), await durably(tmp_path)):
        assert isinstance(told[0], RunStarted)
        assert (told[0].handler, told[0].input) == ("agent/helper", "How?")
        ends = [event for event in told if isinstance(event, RunEnded)]
        assert ends == [told[-1]]
        assert (ends[0].output, ends[0].reason) == ("In the settings.", "answered")
        assert ends[0].usage == Usage(7, 5, requests=3)


async def test_calls_that_a_planner_lets_drop_end_as_dropped() -> None:
    class Drops:
        async def run(self, context: AgentContext) -> PlannerResult:
            await context.think([])
            return PlannerResult((await context.think([])).text)

    model = ScriptedModel([ToolCall("1", "search", {"query": "token"}), "Never mind."])
    told: list[RunEvent] = []
    await Agent("helper", model=model, planner=Drops(), tools=[search]).run("How?", on_event=told.append)

    [ended] = [event for event in told if isinstance(event, ToolCallEnded)]
    assert (ended.call, ended.is_error, ended.error_type) == ("1", True, "dropped")
    assert told.index(ended) < next(n for n, e in enumerate(told) if isinstance(e, ModelAnswered) and e.text)


async def test_a_call_of_the_planners_own_is_told_with_its_arguments() -> None:
    class Acts:
        async def run(self, context: AgentContext) -> PlannerResult:
            [result] = await context.act([ToolCall("x", "search", {"query": "token"})])
            return PlannerResult(result.content)

    told: list[RunEvent] = []
    agent = Agent("helper", model=ScriptedModel([]), planner=Acts(), tools=[search])
    await agent.run("How?", on_event=told.append)

    assert [event.type for event in told] == ["run_started", "tool_call_started", "tool_call_ended", "run_ended"]
    assert isinstance(told[1], ToolCallStarted)
    assert told[1].arguments == {"query": "token"}


async def test_a_typed_answer_is_no_tool_call() -> None:
    model = ScriptedModel([ToolCall("1", "final_answer", {"answer": 42})])
    told: list[RunEvent] = []

    agent = Agent("helper", model=model, planner=LoopPlanner(), output=int, output_mode="tool")
    result = await agent.run("How many?", on_event=told.append)

    assert result.output == 42
    assert not [event for event in told if isinstance(event, ToolCallStarted | ToolCallEnded)]
    assert isinstance(told[-1], RunEnded)
    assert told[-1].output == 42


async def test_a_failed_run_ends_with_its_error_and_the_reason() -> None:
    told: list[RunEvent] = []
    model = ScriptedModel([ToolCall("1", "search", {"query": "token"})] * 2)
    with pytest.raises(Exception, match="Nobody"):
        await Agent("helper", model=model, planner=Raises()).run("How?", on_event=told.append)

    assert isinstance(told[-1], RunFailed)
    assert (told[-1].error, told[-1].reason) == (Failure("error", "LookupError: Nobody is there."), "failed")


class Raises:
    async def run(self, context: AgentContext) -> PlannerResult:
        raise LookupError("Nobody is there.")


async def test_a_question_is_told_with_its_answer() -> None:
    class Asks:
        async def run(self, context: AgentContext) -> PlannerResult:
            return PlannerResult(await context.ask("Ship it?", choices=["yes", "no"], to="ada"))

    told: list[RunEvent] = []
    agent = Agent("helper", model=ScriptedModel([]), planner=Asks())
    await agent.run("Go.", on_event=told.append, on_question=lambda question: "yes")

    asked, answered = told[1], told[2]
    assert isinstance(asked, QuestionAsked)
    assert isinstance(answered, QuestionAnswered)
    assert (asked.text, asked.choices, asked.to) == ("Ship it?", ["yes", "no"], "ada")
    assert (answered.question, answered.value) == (asked.question, "yes")


async def test_custom_events_are_told_without_what_the_journal_adds() -> None:
    class Emits:
        async def run(self, context: AgentContext) -> PlannerResult:
            await context.emit("halfway", {"percent": 50})
            return PlannerResult("Done.")

    told: list[RunEvent] = []
    await Agent("helper", model=ScriptedModel([]), planner=Emits()).run("Go.", on_event=told.append)

    assert told[1] == Custom(name="halfway", data={"percent": 50}, run=told[0].run, agent="helper")


def test_after_a_handoff_the_other_agent_is_at_work() -> None:
    teller = Teller("t-1")
    teller.line("task.accepted", {"handler": "agent/triage", "input": "?"}, run="t-1", agent="triage")

    [handoff] = teller.line("agent.handoff", {"to": "billing", "reason": "money"}, run="t-1", agent="triage")
    [answer] = teller.line("step.done", {"key": "think", "kind": "think", "name": "think", "result": {}}, run="t-1")

    assert isinstance(handoff, Handoff)
    assert (handoff.agent, answer.agent) == ("triage", "billing")


@pytest.mark.parametrize(
    ("type", "data", "event"),
    [
        ("task.paused", {"error": {"type": "x", "message": "Why."}},
         RunHalted(state="paused", error=Failure("x", "Why."))),
        ("task.in_doubt", {}, RunHalted(state="in_doubt")),
        ("task.retry", {"error": {"type": "x", "message": "Why."}, "attempt": 2},
         Retrying(step=None, error=Failure("x", "Why."), failures=2)),
        ("step.retry", {"name": "think", "error": {"type": "x", "message": "Why."}, "try": 1},
         Retrying(step="think", error=Failure("x", "Why."), failures=1)),
        ("step.done", {"key": "a", "kind": "step", "name": "load", "result": 1, "duration_s": 0.5},
         StepEnded(name="load", result=1, duration_s=0.5)),
        ("step.failed", {"key": "a", "kind": "step", "name": "load", "error": {"type": "x", "message": "Why."}},
         StepEnded(name="load", error=Failure("x", "Why."))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_line_tells(type: str, data: dict[str, Any], event: RunEvent) -> None:
    assert Teller("t-1").line(type, data, run="t-1") == [replace(event, run="t-1")]


def test_lines_of_types_that_are_not_known_tell_nothing() -> None:
    assert Teller("t-1").line("task.claimed", {"worker": "w"}, run="t-1") == []


async def test_events_survive_json_and_fit_the_published_schema(tmp_path: Path) -> None:
    schema = run_event_schema()
    known = {name: found["properties"] for name, found in schema["$defs"].items() if "properties" in found}

    for event in await durably(tmp_path):
        told = run_event_to_json(event)
        assert next(iter(told)) == "type"
        assert told.keys() == known[type(event).__name__].keys()
        assert run_event_to_json(run_event_from_json(told)) == told


def test_the_schema_tells_all_events_apart_by_their_type() -> None:
    mapping = run_event_schema()["discriminator"]["mapping"]

    assert sorted(mapping) == sorted(kind.__dataclass_fields__["type"].default for kind in KINDS)


def test_a_match_over_all_events_can_be_checked_to_be_exhaustive() -> None:
    """mypy checks this very function."""

    def brief(event: RunEvent) -> str:
        if isinstance(event, RunEnded | RunFailed):
            return "over"
        if event.type == "custom":
            return event.name
        return event.type

    def is_over(end: RunEnded | RunFailed) -> bool:
        match end:
            case RunEnded():
                return True
            case RunFailed():
                return False
            case _:
                assert_never(end)

    assert brief(Custom(name="mine")) == "mine"
    assert is_over(RunEnded())
