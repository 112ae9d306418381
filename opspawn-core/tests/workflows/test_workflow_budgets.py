"""`budget` in a definition: what a workflow, and the agents that it asks, may use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, Budget, tool
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ModelResponse, ToolCall, Usage
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.ops.workflows import load_workflow
from opspawn.testing import LoopPlanner, ScriptedModel

Opens = Callable[[str], AbstractAsyncContextManager[Host]]


@tool(effect="read")
async def look(page: int = 1) -> str:
    """Look at a page."""
    return f"page {page}"


def says(request: Any) -> ModelResponse:
    turn = sum(message.role == "assistant" for message in request.messages)
    used = Usage(900, 100, requests=1)
    if turn < 3:
        return ModelResponse(tool_calls=(ToolCall(str(turn), "look", {"page": turn}),), usage=used)
    return ModelResponse("Read.", usage=used)


@pytest.fixture
def opened(tmp_path: Path) -> Opens:
    @asynccontextmanager
    async def opens(definition: str) -> AsyncIterator[Host]:
        (tmp_path / "flow.yaml").write_text(f'opspawn: "1"\nname: flow\n{definition}')
        reader = Agent(
            "reader", model=ScriptedModel(says), planner=LoopPlanner(), tools=[look], settings={"max_tokens": 100}
        )
        app = App(agents=[reader], workflows=[tmp_path / "flow.yaml"], tools=[look])
        settings = Settings(worker=WorkerSettings(poll_s=0.05), data=str(tmp_path))
        async with Host.open(app, loaded=Loaded(settings, folder=tmp_path)) as host:
            yield host

    return opens


async def ended(host: Host) -> Any:
    return await host.wait((await host.submit("workflow/flow", {})).id, 30)


async def test_the_agents_of_a_workflow_share_its_budget(opened: Opens) -> None:
    async with opened("budget: {tokens: 2000}\nsteps: {a: {uses: agent/reader, with: {input: Go}}}") as host:
        task = await ended(host)
    assert (task.state, task.error["type"]) == ("failed", "budget")
    assert "tokens" in task.error["message"]


async def test_a_step_lends_its_agent_so_much_and_no_more(opened: Opens) -> None:
    steps = "steps: {a: {uses: agent/reader, with: {input: Go}, budget: {requests: 2}}}"
    async with opened(steps) as host:
        task = await ended(host)
    assert (task.state, task.error["type"]) == ("failed", "budget")
    assert "2 of 2 requests" in task.error["message"]


async def test_tools_of_the_workflow_itself_count_as_well(opened: Opens) -> None:
    steps = "steps: {a: {uses: tool/look}, b: {uses: tool/look, needs: a}}"
    async with opened(f"budget: {{tool_calls: 1}}\n{steps}") as host:
        task = await ended(host)
    assert task.error["type"] == "budget"


async def test_a_workflow_that_keeps_to_its_budget_ends_as_ever(opened: Opens) -> None:
    definition = "budget: {tokens: 20000, wall: 10m}\nsteps: {a: {uses: agent/reader, with: {input: Go}}}"
    async with opened(definition) as host:
        assert (await ended(host)).result == {"a": "Read."}


def load(definition: str) -> Any:
    return load_workflow(f'opspawn: "1"\nname: flow\n{definition}')


def test_a_budget_is_read_with_its_units() -> None:
    workflow = load("budget: {usd: 1, wall: 1h30m, on_exceed: ask, approvers: [ada]}\nsteps: {a: {uses: tool/look}}")
    assert workflow.budget == Budget(usd=1, wall_s=5400.0, on_exceed="ask", approvers=("ada",))


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("budget: {token: 5}\nsteps: {a: {uses: tool/look}}", "'token' is not a key here. Did you mean 'tokens'?"),
        ("budget: {wall: 90}\nsteps: {a: {uses: tool/look}}", "budget.wall"),
        ("budget: {tokens: many}\nsteps: {a: {uses: tool/look}}", "budget.tokens: must be a whole number"),
        ("budget: {on_exceed: ask}\nsteps: {a: {uses: tool/look}}", "limits nothing"),
        ("steps: {a: {uses: tool/look, budget: {tokens: 5}}}", "steps.a.budget: is for agents."),
        ("steps: {a: {uses: agent/x, budget: {tool_call: 5}}}", "Did you mean 'tool_calls'?"),
    ],
)
def test_a_budget_that_cannot_be_is_told_with_its_place(definition: str, words: str) -> None:
    with pytest.raises(InvalidInput) as info:
        load(definition)
    assert words in str(info.value.faults or info.value)
