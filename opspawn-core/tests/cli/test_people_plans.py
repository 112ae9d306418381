"""Plans of a run, put to whoever sits at the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.cli.people import People
from opspawn.cli.screen import Screen
from opspawn.config import load_settings
from opspawn.contracts.plan import Plan
from opspawn.contracts.planner import PlannerResult
from opspawn.host import Host
from opspawn.testing import ScriptedModel

PLAN = {"steps": [{"id": "buy", "description": "Buy tea."}]}


class Proposes:
    """Shows one plan and answers with what was said to it."""

    async def run(self, context: Any) -> PlannerResult:
        verdict = await context.propose(Plan.model_validate(PLAN), ask=True)
        steps = [step["id"] for step in verdict.plan["steps"]] if verdict.plan is not None else []
        return PlannerResult(f"{verdict.decision} {verdict.words} {steps}")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    app = App(agents=[Agent("buyer", model=ScriptedModel([]), planner=Proposes())])
    async with Host.open(app, loaded=load_settings(cwd=tmp_path, overrides={"worker.poll_s": 0.05})) as host:
        yield host


async def answer(host: Host, *lines: str) -> Any:
    """The result of a run whose plan is answered with these lines."""
    left = list(lines)

    async def typed() -> str | None:
        return left.pop(0) if left else await asyncio.Event().wait() and None

    task = await host.submit("agent/buyer", "Tea.")
    people = People(host, Screen(), typed)
    serving = asyncio.create_task(people.serve())
    try:
        async with asyncio.timeout(30):
            async for event in host.stream(task.id):
                if event.type == "question_asked":
                    people.ask(event.question)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    return (await host.task(task.id)).result


@pytest.mark.parametrize(
    ("lines", "result"),
    [
        (["y"], "approve  []"),
        (["n", "Too dear."], "reject Too dear. []"),
        (["r", "", "r", "Coffee."], "revise Coffee. []"),
        (["what?", "yes"], "approve  []"),
        (["e", '{"steps": [{"id": "sell", "description": "Sell."}]}'], "approve  ['sell']"),
        (["e", '[{"id": "sell", "description": "Sell."}]'], "approve  ['sell']"),
    ],
)
async def test_a_plan_is_answered_in_a_word(host: Host, lines: list[str], result: str) -> None:
    assert await answer(host, *lines) == result


async def test_a_plan_that_is_none_is_asked_about_again(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert await answer(host, "e", "{oops", "e", '{"step": 1}', "e", "", "y") == "approve  []"
    said = capsys.readouterr().err
    assert "That is no JSON" in said
    assert "A plan is an object with its steps" in said
