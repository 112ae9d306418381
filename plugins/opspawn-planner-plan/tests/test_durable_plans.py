"""Plans in durable runs: killed at any write they end alike, no step is done twice, and people may take their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.config import Loaded
from opspawn.config.settings import Settings, WorkerSettings
from opspawn.contracts.model import ModelRequest, ToolCall
from opspawn.contracts.store import Query, TaskState
from opspawn.host import Host
from opspawn.testing import ScriptedModel, crash_everywhere, virtual_time
from opspawn_planner_plan.planner import PlanExecutePlanner

FIRST = {
    "steps": [
        {"id": "tea", "tool": "find", "inputs": {"query": "tea"}},
        {"id": "milk", "tool": "find", "inputs": {"query": "broken"}},
        {"id": "choose", "description": "Which one of ${tea}?"},
        {"id": "buy", "tool": "order", "inputs": {"article": "${tea}", "of": "${milk}"}},
    ]
}
AGAIN = {
    "steps": [
        {"id": "milk", "tool": "find", "inputs": {"query": "milk"}},
        {"id": "buy", "tool": "order", "inputs": {"article": "${choose}", "of": "${milk}"}},
    ]
}


class Shop:
    """An app that plans twice, what it ordered, and what its models were asked."""

    def __init__(self, **settings: Any) -> None:
        self.ordered: list[str] = []
        self.found: list[str] = []
        self.asked: list[str] = []

        @tool(effect="read")
        async def find(query: str) -> str:
            """Find an article."""
            self.found.append(query)
            if query == "broken":
                raise LookupError("the index is broken")
            return f"best {query}"

        @tool(effect="idempotent")
        async def order(article: str, of: str) -> str:
            """Order an article."""
            self.ordered.append(f"{article} and {of}")
            return f"ordered {article} and {of}"

        planner = PlanExecutePlanner(max_parallel=2, **settings)
        model = ScriptedModel(self.says)
        self.app = App(agents=[Agent("buyer", model=model, planner=planner, tools=[find, order])])

    def says(self, request: ModelRequest) -> Any:
        self.asked.append(repr([(message.role, message.content) for message in request.messages]))
        if not request.tools:
            return "green tea"
        turn = sum(message.role == "assistant" for message in request.messages)
        return ToolCall(f"p{turn}", "make_plan", (FIRST, AGAIN)[turn]) if turn < 2 else request.messages[-1].content


@virtual_time
async def test_killed_at_any_write_a_plan_ends_alike_and_nothing_recorded_is_done_again() -> None:
    shops: list[Shop] = []

    def begin() -> App:
        shops.append(Shop())
        return shops[-1].app

    async def scenario(host: Host) -> Any:
        return await host.wait((await host.submit("agent/buyer", "Tea, please.")).id, 1e6)

    runs = await crash_everywhere(begin, scenario, effects=lambda: (set(shops[-1].ordered), set(shops[-1].found)))
    clean = shops[0]

    assert "[buy] order: done\nordered green tea and best milk" in str(runs[0].tasks[0].result)
    for run, shop in zip(runs, shops, strict=True):
        (task,) = run.tasks
        done = [event.data["key"] for event in run.journals[task.id] if event.type == "step.done"]
        plans = [event.data["number"] for event in run.journals[task.id] if event.type.startswith("plan.")]
        assert len(done) == len(set(done))
        assert plans == [1, 2]
        assert set(shop.asked) == set(clean.asked)
        # What was in flight is done again, and at most two steps are in flight.
        assert len(shop.asked) + len(shop.found) <= len(clean.asked) + len(clean.found) + 2
        assert len(shop.ordered) <= 2


@virtual_time
async def test_killed_at_any_write_an_approval_is_asked_once_and_the_changed_plan_is_carried_out() -> None:
    shops: list[Shop] = []
    changed = {"steps": [{"id": "buy", "tool": "order", "inputs": {"article": "water", "of": "the tap"}}]}

    def begin() -> App:
        shops.append(Shop(approve="effects"))
        return shops[-1].app

    async def scenario(host: Host) -> Any:
        task = await host.submit("agent/buyer", "Tea, please.")
        asked = 0
        while not (await host.task(task.id)).state.terminal:
            for question in (await host.questions(Query(where={"state": "open", "kind": "plan"}))).items:
                asked += 1
                plan = {"plan": changed} if asked == 2 else {}
                await host.answer(question.id, {"decision": "approve", **plan}, by="ada")
            await asyncio.sleep(0.05)
        return [await host.task(task.id), asked]

    runs = await crash_everywhere(begin, scenario, effects=lambda: set(shops[-1].ordered))

    for run in runs:
        (task,) = run.tasks
        told = [event for event in run.journals[task.id] if event.type.startswith("plan.")]
        assert [event.data.get("by") for event in told] == [None, None, "ada"]
        assert run.effects == {"water and the tap"}
        assert "ada changed your plan" in str(task.result)


# -- on a real store ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(shop: Shop, folder: Path) -> AsyncIterator[Host]:
    settings = Settings(worker=WorkerSettings(poll_s=0.05), data=str(folder))
    async with Host.open(shop.app, loaded=Loaded(settings, folder=folder)) as host:
        yield host


async def asked(host: Host) -> Any:
    """The open question about a plan, once it is there."""
    for _ in range(500):
        found = (await host.questions(Query(where={"state": "open", "kind": "plan"}))).items
        if found:
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError("nobody asks")


async def test_a_plan_waits_without_a_slot_over_a_restart_and_a_rejection_is_final(tmp_path: Path) -> None:
    shop = Shop(approve="always", approvers="purchasing")
    async with opened(shop, tmp_path) as host:
        task = await host.submit("agent/buyer", "Tea, please.")
        question = await asked(host)
        while (await host.task(task.id)).state is not TaskState.WAITING:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    async with opened(shop, tmp_path) as host:
        assert (await asked(host)).id == question.id
        assert question.question.to == "purchasing"
        assert [step["id"] for step in question.question.call["plan"]["steps"]] == ["tea", "milk", "choose", "buy"]
        await host.answer(question.id, {"decision": "reject", "words": "We have tea."}, by="ada")
        ended = await host.wait(task.id, 10)
        told = {event.type: event.data for event in await host.journal(task.id)}

    assert (ended.state, ended.attempt) == (TaskState.FAILED, 1)
    assert ended.error is not None
    assert ended.error["message"] == "ada rejected the plan. We have tea."
    assert told["agent.answered"]["reason"] == "rejected"
    assert len(shop.asked) == 1
    assert shop.found == []


@virtual_time
async def test_a_plan_that_nobody_decides_about_in_time_is_rejected() -> None:
    shop = Shop(approve="always", approve_timeout_s=60)

    async def scenario(host: Host) -> Any:
        task = await host.wait((await host.submit("agent/buyer", "Tea, please.")).id, 1e6)
        return task.error["message"] if task.error else None

    runs = await crash_everywhere(shop.app, scenario)

    assert {run.answer for run in runs} == {"The plan was rejected. Nobody decided in time."}
    assert shop.found == []


async def test_steps_of_a_plan_are_in_the_journal_under_the_scope_of_their_branch(tmp_path: Path) -> None:
    shop = Shop()
    async with opened(shop, tmp_path) as host:
        task = await host.wait((await host.submit("agent/buyer", "Tea, please.")).id, 10)
        keys = [event.data["key"] for event in await host.journal(task.id) if event.type == "step.done"]

    assert {"tools", "think", "gather/0/act/0", "gather/2/think", "gather#1/1/act/0"} <= set(keys)


@pytest.mark.parametrize("wrong", [{"decision": "maybe"}, {"plan": {"steps": []}}, "yes"])
async def test_an_answer_that_is_no_decision_is_refused(tmp_path: Path, wrong: Any) -> None:
    from opspawn.errors import InvalidInput

    async with opened(Shop(approve="always"), tmp_path) as host:
        await host.submit("agent/buyer", "Tea, please.")
        question = await asked(host)
        with pytest.raises(InvalidInput):
            await host.answer(question.id, wrong)


async def test_a_run_goes_on_with_the_tools_that_its_plan_was_made_of(tmp_path: Path) -> None:
    """Newer code may describe its tools otherwise; the model was told the words of then, which are recorded."""

    def app(words: str) -> App:
        @tool(effect="once", description=words)
        async def order(article: str) -> str:
            return f"ordered {article}"

        def says(request: ModelRequest) -> Any:
            last = request.messages[-1]
            steps = [{"id": "buy", "tool": "order", "inputs": {"article": "tea"}}]
            return ToolCall("p", "make_plan", {"steps": steps}) if last.role == "user" else "Done."

        planner = PlanExecutePlanner(approve="always")
        return App(agents=[Agent("buyer", model=ScriptedModel(says), planner=planner, tools=[order])])

    loaded = Loaded(Settings(worker=WorkerSettings(poll_s=0.05), data=str(tmp_path)), folder=tmp_path)
    async with Host.open(app("Order."), loaded=loaded) as host:
        task = await host.submit("agent/buyer", "Tea.")
        async with asyncio.timeout(20):
            while not (page := await host.questions(Query(where={"state": "open"}))).items:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    async with Host.open(app("Order an article, in new words."), loaded=loaded) as host:
        await host.answer(page.items[0].id, {"decision": "approve"})
        ended = await host.wait(task.id, 20)

    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, "Done.")
