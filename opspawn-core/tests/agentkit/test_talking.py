"""In memory, whoever starts a run answers its questions and gives it its signals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import Agent
from opspawn.agentkit.context import Context
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.question import Question
from opspawn.errors import ConfigError, InvalidInput, StepTimeout
from opspawn.testing import ScriptedModel


def context(**answers: Any) -> Context:
    return Context(MemoryLog(**answers), name="work")


async def test_a_question_is_answered_by_the_callback() -> None:
    asked: list[Question] = []

    async def answer(question: Question) -> str:
        asked.append(question)
        return "yes"

    ctx = context(on_question=answer)

    assert await ctx.ask("Ship it?", choices=["yes", "no"], to="ada") == "yes"
    assert asked == [Question("Ship it?", ("yes", "no"), None, "ada")]


async def test_a_plain_callback_will_do_and_its_answer_must_fit() -> None:
    ctx = context(on_question=lambda question: 0)

    assert await ctx.ask("How many?") == 0
    with pytest.raises(InvalidInput, match="answer: must be at least 1, not 0"):
        await ctx.ask("How many?", schema={"type": "integer", "minimum": 1})


async def test_a_callback_that_takes_too_long_gives_the_default_or_a_time_out() -> None:
    async def answer(_: Any) -> None:
        await asyncio.sleep(60)

    ctx = context(on_question=answer, on_wait=answer)

    assert await ctx.ask("Well?", timeout_s=0.01, default=None) is None
    with pytest.raises(StepTimeout, match="Nobody answered the question in time"):
        await ctx.ask("Well?", timeout_s=0.01)
    with pytest.raises(StepTimeout, match="The signal 'go' did not come in time"):
        await ctx.wait("go", timeout_s=0.01)


async def test_a_signal_is_what_the_callback_gives() -> None:
    assert await context(on_wait=lambda name: {"name": name}).wait("go") == {"name": "go"}


async def test_without_a_callback_the_run_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"asks 'Well\?', and nobody answers its questions\. Give on_question="):
        await context().ask("Well?")
    with pytest.raises(ConfigError, match=r"waits for the signal 'go', and nobody gives it signals\. Give on_wait="):
        await context().wait("go")


async def test_an_agent_that_runs_in_memory_asks_whoever_started_it() -> None:
    class Asks:
        async def run(self, ctx: Any) -> PlannerResult:
            await ctx.progress("asking", done=0, total=1)
            return PlannerResult([await ctx.ask("Well?"), await ctx.wait("go")], "answered")

    events: list[Any] = []
    agent = Agent("helper", model=ScriptedModel([]), planner=Asks())
    result = await agent.run(
        "hi", on_question=lambda question: question.text, on_wait=lambda name: name, on_event=events.append
    )

    assert result.output == ["Well?", "go"]
    assert [event.type for event in events] == [
        "run_started", "progress", "question_asked", "question_answered", "run_ended"
    ]  # fmt: skip
