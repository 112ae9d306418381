"""A host is an app with everything around it, opened whole or not at all, and stopped gracefully."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.catalog import Catalog
from opspawn.contracts.events import Event
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.store import EventQuery, Query, TaskState
from opspawn.errors import AppError, ConfigError, InvalidInput, NotFound, PluginError, StoreUnusable
from opspawn.host import Host
from opspawn.ops.run.executor import WorkerOptions
from opspawn.testing import ScriptedModel


class Echo:
    """A planner that thinks once."""

    async def run(self, context: Any) -> PlannerResult:
        from opspawn.contracts.model import Message

        response = await context.think([Message("user", str(context.input))])
        return PlannerResult(response.text, "answered")


@tool(effect="read")
async def double(n: int) -> int:
    return 2 * n


def flow(name: str = "twice", **more: Any) -> dict[str, Any]:
    return {
        "opspawn": "1",
        "name": name,
        "inputs": {"n": {"type": "integer", "default": 4}},
        "steps": {"a": {"uses": "tool/double", "with": {"n": "${{ inputs.n }}"}}},
        "output": "${{ steps.a.output }}",
        **more,
    }


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def app(*flows: dict[str, Any], **functions: Any) -> App:
    paths = []
    for number, one in enumerate(flows):
        paths.append(Path.cwd() / f"{number}.json")
        paths[-1].write_text(json.dumps(one))
    helper = Agent("helper", model=ScriptedModel(lambda _: "Hello."), planner=Echo())
    return App(agents=[helper], tools=[double], workflows=paths, functions=functions)


@asynccontextmanager
async def opened(made: App, **more: Any) -> AsyncIterator[Host]:
    options = WorkerOptions(poll_s=0.05, drain_s=5.0)
    async with Host.open(made, **{"options": options, "sections": {"sqlite": {"path": ":memory:"}}, **more}) as host:
        yield host


async def test_agents_workflows_and_functions_run(folder: Path) -> None:
    async with opened(app(flow())) as host:
        tasks = [
            await host.submit("agent/helper", "Hi"),
            await host.submit("workflow/twice", {"n": 3}),
            await host.submit("workflow/twice"),
        ]
        results = [(await host.wait(task.id, 20)).result for task in tasks]
        assert [agent.name for agent in host.agents()] == ["helper"]
        assert host.workflows() == ["twice"]

    assert results == ["Hello.", 6, 8]


async def test_a_function_makes_children_of_every_kind() -> None:
    async def work(ctx: Any) -> Any:
        return [
            await ctx.spawn("agent/helper", "x"),
            await ctx.spawn("function/other", 3),
            await ctx.spawn("workflow/twice", {"n": 5}),
            await ctx.spawn("workflow/twice"),
        ]

    async def other(ctx: Any) -> Any:
        return ctx.input + 1

    async with opened(app(flow(), work=work, other=other)) as host:
        ended = await host.wait((await host.submit("function/work")).id, 20)

    assert ended.result == ["Hello.", 4, 10, 8]


@pytest.mark.parametrize(
    ("handler", "input", "error_type"),
    [("workflow/twice", {"m": 1}, "invalid_input"), ("agent/helper", "", "invalid_input"), ("agent/x", 1, "not_found")],
)
async def test_a_child_that_cannot_run_fails_its_spawn(handler: str, input: Any, error_type: str) -> None:
    async def work(ctx: Any) -> Any:
        await ctx.spawn(handler, input)

    async with opened(app(flow(), work=work)) as host:
        ended = await host.wait((await host.submit("function/work")).id, 20)

    assert (ended.state, ended.error["type"]) == (TaskState.FAILED, error_type)


async def test_a_definition_that_comes_along_is_pinned_to_its_run() -> None:
    async with opened(app()) as host:
        task = await host.submit_definition(flow("sent"), {"n": 5}, idempotency_key="k")
        again = await host.submit_definition(flow("sent"), {"n": 5}, idempotency_key="k")
        ended = await host.wait(task.id, 20)

    assert (ended.result, again.id) == (10, task.id)


async def test_a_run_keeps_the_definition_that_it_began_with(folder: Path) -> None:
    path = str(folder / "kept.db")
    async with opened(app(flow()), sections={"sqlite": {"path": path}}, worker=False) as host:
        task = await host.submit("workflow/twice", {"n": 3})
    changed = flow(steps={"a": {"uses": "tool/double", "with": {"n": 100}}})
    async with opened(app(changed), sections={"sqlite": {"path": path}}) as host:
        ended = await host.wait(task.id, 20)

    assert ended.result == 6


@pytest.mark.parametrize(
    ("handler", "input", "error", "words"),
    [
        ("agent/none", "x", NotFound, "There is no agent 'none'. Known: helper."),
        ("agent/helper", "", InvalidInput, "The agent 'helper' needs an input."),
        ("agent/helper", None, InvalidInput, "The agent 'helper' needs an input."),
        ("workflow/none", {}, NotFound, "There is no workflow 'none'. Known: twice."),
        ("workflow/twice", {"m": 1}, InvalidInput, "The input does not fit the workflow 'twice'"),
        ("workflow/inline", None, InvalidInput, "'workflow/inline' needs a definition."),
        ("workflow/inline", {"definition": "x"}, InvalidInput, "'workflow/inline' needs a definition."),
        ("function/none", None, NotFound, "There is no function 'none'."),
        ("helper", "x", NotFound, "There is no handler 'helper'. Known: agent/…, function/…, workflow/…."),
        ("functoin/twice", "x", NotFound, "There is no handler 'functoin/twice'."),
        ("", "x", NotFound, "There is no handler"),
    ],
)
async def test_what_cannot_run_is_refused_and_nothing_is_accepted(
    handler: str, input: Any, error: type[Exception], words: str
) -> None:
    async with opened(app(flow())) as host:
        with pytest.raises(error) as caught:
            await host.submit(handler, input)
        accepted = (await host.tasks(Query())).items

    assert str(caught.value).startswith(words)
    assert accepted == []


async def test_an_unknown_agent_to_account_to_is_refused() -> None:
    async with opened(app(flow())) as host:
        with pytest.raises(NotFound, match="There is no agent 'none'"):
            await host.submit("workflow/twice", agent="none")


async def test_a_definition_with_faults_is_refused_with_all_of_them() -> None:
    bad = flow(steps={"a": {"uses": "tool/none"}, "b": {"uses": "agent/none"}}, output="x")
    async with opened(app()) as host:
        with pytest.raises(InvalidInput) as caught:
            await host.submit_definition(bad, {})

    assert len(caught.value.faults) == 2


async def test_two_workflows_of_one_name_are_refused() -> None:
    with pytest.raises(AppError, match=r"The name of the workflow 'twice' is taken by another\. Give it another name"):
        async with opened(app(flow(), flow())):
            raise AssertionError


async def test_a_workflow_named_like_those_that_come_along_is_refused() -> None:
    with pytest.raises(AppError, match="The name of the workflow 'inline' has a meaning of its own"):
        async with opened(app(flow("inline"))):
            raise AssertionError


@pytest.mark.parametrize(
    ("made", "more", "error", "words"),
    [
        (lambda: App(agents=[Agent("a", planner=Echo())]), {}, ConfigError, "No model is set for the agent 'a'."),
        (lambda: App(agents=[Agent("a", model="none:x", planner=Echo())]), {}, PluginError, "none"),
        (lambda: App(workflows=["none.yaml"]), {}, AppError, "There is no workflow file"),
        (lambda: App(), {"sections": {"sqlite": {"path": "/dev/null/x.db"}}}, StoreUnusable, "/dev/null"),
        (lambda: App(), {"sections": {"sqlite": {"pth": "x"}}}, ConfigError, "pth"),
    ],
)
async def test_what_is_missing_is_told_at_the_start_and_nothing_is_left_behind(
    made: Any, more: dict[str, Any], error: type[Exception], words: str, folder: Path
) -> None:
    with pytest.raises(error) as caught:
        async with opened(made(), **more):
            raise AssertionError

    assert words in str(caught.value)
    assert [path for path in os.listdir(folder) if ".db" in path] == []


async def test_what_is_checked_before_the_store_is_opened_leaves_nothing_behind(folder: Path) -> None:
    def refuse(catalog: Catalog) -> None:
        catalog.accept("agent/none", "x")

    with pytest.raises(NotFound):
        async with opened(app(), sections={}, check=refuse):
            raise AssertionError
    assert not (folder / ".opspawn").exists()


async def test_a_host_without_a_worker_needs_no_models_and_accepts_all_the_same() -> None:
    async with opened(App(agents=[Agent("a", planner=Echo())]), worker=False) as host:
        task = await host.submit("agent/a", "Hi")
        ready = await host.ready()

    assert task.state is TaskState.QUEUED
    assert (ready["ready"], ready["worker"]) == (True, "none")


async def test_leaving_lets_the_step_in_flight_end_even_after_a_stop() -> None:
    """The second call of `stop` gives back at once; leaving is no second call."""
    began, go, done = asyncio.Event(), asyncio.Event(), []

    async def act() -> str:
        began.set()
        await go.wait()
        done.append("act")
        return "done"

    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act, effect="once")

    async with opened(app(work=work)) as host:
        await host.submit("function/work")
        await asyncio.wait_for(began.wait(), 20)
        host.stop()
        assert (await host.ready())["draining"] is True
        asyncio.get_running_loop().call_later(0.05, go.set)

    assert done == ["act"]


async def test_who_follows_events_gets_them_and_is_let_go_at_the_end() -> None:
    seen: list[str] = []
    ended = asyncio.Event()

    async with opened(app()) as host:

        async def follow() -> None:
            async for event in host.tail(0):
                if isinstance(event, Event) and event.task is not None:
                    seen.append(event.type)
                    if event.type == "task.succeeded":
                        ended.set()

        following = asyncio.create_task(follow())
        task = await host.submit("agent/helper", "Hi")
        await host.wait(task.id, 20)
        await asyncio.wait_for(ended.wait(), 20)
        host.stop()
        await asyncio.wait_for(following, 20)
        told = [event.type for event in await host.events(EventQuery(task=task.id))]
        with pytest.raises(InvalidInput, match="Events have no level 'warn'"):
            await host.events(EventQuery(task=task.id, level="warn"))

    assert seen == told == ["task.accepted", "task.claimed", "step.done", "agent.answered", "task.succeeded"]


async def test_the_host_answers_about_its_tasks() -> None:
    async with opened(app()) as host:
        task = await host.submit("agent/helper", "Hi", labels={"team": "red"})
        ended = await host.wait(task.id, 20)
        journal = await host.journal(task.id)
        with pytest.raises(NotFound):
            await host.task("t-none")

    assert (ended.result, ended.agent, ended.labels) == ("Hello.", "helper", {"team": "red"})
    assert [event.agent for event in journal] == ["helper"] * 5
