"""Events that were captured, and what is asserted of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, Policy, Rule, tool
from opspawn.contracts import run_events as told
from opspawn.contracts.model import ModelResponse, ToolCall, Usage
from opspawn.host import Host
from opspawn.testing import Events, LoopPlanner, ScriptedModel, capture_events, events_of


@tool(effect="read")
async def search(word: str) -> str:
    """Search."""
    return f"About {word}."


@tool
async def pay(amount: int) -> str:
    """Pay."""
    return "paid"


def helper(*script: Any, **more: Any) -> Agent:
    return Agent("helper", model=ScriptedModel(script), planner=LoopPlanner(), tools=[search, pay], **more)


LOOKS = ToolCall("1", "search", {"word": "token"})


async def test_runs_that_begin_within_the_block_are_captured_and_no_others() -> None:
    agent = helper("One.", LOOKS, "Two.", "Three.")
    await agent.run("How?")
    with capture_events(agent) as events:
        await agent.run("How?")
    await agent.run("How?")

    assert events.output == events.text == "Two."
    assert [(call.tool, call.arguments, call.result) for call in events.tool_calls("search")] == [
        ("search", {"word": "token"}, "About token.")
    ]
    assert events.usage.requests == 2


async def test_captured_runs_still_tell_those_who_listen() -> None:
    seen: list[told.RunEvent] = []
    agent = helper("One.")
    with capture_events(agent) as outer, capture_events(agent) as inner:
        await agent.run("How?", on_event=seen.append)

    assert list(outer) == list(inner) == seen


async def test_what_happened_in_a_durable_run_is_read_from_its_journal(tmp_path: Path) -> None:
    async with Host.open(App(agents=[helper(LOOKS, "Done.")]), data=tmp_path) as host:
        task = await host.dispatch("agent/helper", "How?", wait_s=30)
        events = await events_of(host, task.id)

    events.assert_called("search", word="token", times=1)
    events.assert_answered("Done.", reason="answered")


async def test_what_is_true_is_asserted() -> None:
    deny = Policy([Rule("deny", tool="pay", reason="Closed.")])
    response = ModelResponse("Done.", usage=Usage(10, 5, requests=1))
    calls = [LOOKS, ToolCall("2", "pay", {"amount": 5})]
    agent = helper(calls, ToolCall("3", "nope", {}), response, policies=[deny])
    with capture_events(agent) as events:
        await agent.run("How?")

    events.assert_called("search")
    events.assert_called_in_order("search", "nope")
    events.assert_tool_failed("pay", "Closed")
    events.assert_tool_failed("nope", "no tool")
    events.assert_denied("pay")
    events.assert_answered(contains="Don")
    events.assert_used_at_most(requests=3, tokens=15)


def test_each_kind_of_event_has_an_assertion() -> None:
    events = Events([
        told.QuestionAsked(question="q", text="Which?"),
        told.ApprovalAsked(question="a", text="May I?", act="tool", name="pay"),
        told.ApprovalDecided(question="a", decision="approve"),
        told.Handoff(to="billing"),
        told.SubAgentStarted(child="c", handler="agent/finder"),
        told.PlanMade(plan={"steps": [{"id": "find"}]}),
        told.Custom(name="halfway", data={"percent": 50}),
        told.Retrying(step="think", error=told.Failure("x", "Busy.")),
        told.RunFailed(error=told.Failure("budget", "Used up.")),
    ])  # fmt: skip

    events.assert_asked("Which")
    events.assert_asked("May I")
    events.assert_approved("pay")
    events.assert_handed_over("billing")
    events.assert_delegated("finder")
    events.assert_planned("find")
    events.assert_emitted("halfway", percent=50)
    events.assert_retried(1)
    events.assert_failed("Used up", error_type="budget")
    events.assert_no_calls()


WRONG: list[tuple[Callable[[Events], object], str]] = [
    (lambda e: e.assert_called("pay"), r"pay\(\) was not called. Calls: search\(word='token'\)."),
    (lambda e: e.assert_called("search", word="moon"), r"search\(word='moon'\) was not called"),
    (lambda e: e.assert_called("search", times=2), "was called 1 times, not 2"),
    (lambda e: e.assert_not_called("search"), "search was called 1 times"),
    (lambda e: e.assert_no_calls(), "Tools were called"),
    (lambda e: e.assert_called_in_order("search", "pay"), "pay was not called in the order"),
    (lambda e: e.assert_tool_failed("search"), "no call of it failed"),
    (lambda e: e.assert_answered("No."), "The answer is 'Done.', not 'No.'"),
    (lambda e: e.assert_answered(contains="no"), "does not contain 'no'"),
    (lambda e: e.assert_answered(reason="loop"), "for the reason 'answered', not 'loop'"),
    (lambda e: e.assert_failed(), "No run failed. Events: "),
    (lambda e: e.assert_asked(), "Nothing was asked"),
    (lambda e: e.assert_approved(), "Nobody decided 'approve'"),
    (lambda e: e.assert_denied(), "Nothing was denied"),
    (lambda e: e.assert_handed_over("x"), "Handed over to: nobody"),
    (lambda e: e.assert_delegated("x"), "Asked were: nobody"),
    (lambda e: e.assert_planned(), "No plan was made"),
    (lambda e: e.assert_emitted("x"), "Emitted: nothing"),
    (lambda e: e.assert_retried(), "0 tries were repeated, not any"),
    (lambda e: e.assert_used_at_most(requests=1), "2 model calls were made, more than 1"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_is_not_true_is_told_with_what_happened_instead(wrong: Any, words: str) -> None:
    agent = helper(LOOKS, "Done.")
    with capture_events(agent) as events:
        await agent.run("How?")

    with pytest.raises(AssertionError, match=words):
        wrong(events)
