"""Rates and limits of durable runs, with real workers on a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App
from opspawn.agentkit.bound import BoundModel
from opspawn.config import load_settings
from opspawn.contracts.limit import Limit
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext, RunContext
from opspawn.contracts.store import Batch, Store, Take, Task, TaskState
from opspawn.errors import Limited
from opspawn.host import Host
from opspawn.testing import ScriptedModel

PATIENCE_S = 30.0
#: So slow that no test sees it refill.
SLOW = {"requests_per_minute": 0.001, "tokens_per_minute": 0.001, "burst": 2}


class Crowd:
    """How many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = self.seen = 0

    async def visit(self) -> None:
        self.inside += 1
        self.seen += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.02)
        self.inside -= 1


@asynccontextmanager
async def opened(folder: Path, app: App, **limits: Any) -> AsyncIterator[Host]:
    loaded = load_settings(cwd=folder, environ={}, overrides={"worker.poll_s": 0.05, "limits": limits})
    async with Host.open(app, loaded=loaded) as host:
        yield host


async def reaches(host: Host, id: str, holds: Callable[[Task], bool]) -> Task:
    deadline = time.monotonic() + PATIENCE_S
    while not holds(task := await host.task(id)):
        assert time.monotonic() < deadline, f"the task is {task.state} for long"
        await asyncio.sleep(0.01)
    return task


async def left(store: Store, key: str, per_minute: float, burst: float) -> int:
    """How many units a rate would still give, by taking them."""
    count = 0
    while True:
        try:
            await store.commit(Batch([Take(key, 1, per_minute / 60, burst)]))
        except Limited:
            return count
        count += 1


async def test_a_run_that_must_wait_for_a_rate_parks_until_the_store_said(tmp_path: Path) -> None:
    async def sync(ctx: RunContext) -> str:
        await ctx.take("crm")
        return "done"

    async with opened(tmp_path, App(functions={"sync": sync}), crm=SLOW) as host:
        first, second, third = [await host.submit("function/sync") for _ in range(3)]
        ends = [
            await reaches(host, task.id, lambda task: task.state in ("succeeded", "waiting"))
            for task in (first, second, third)
        ]
        waits = [task for task in ends if task.state is TaskState.WAITING]

        assert len(waits) == 1
        assert waits[0].due is not None
        assert (waits[0].due - waits[0].updated).total_seconds() > 3600  # type: ignore[operator]
        (wait,) = (await host.why(waits[0].id)).waits
        assert (wait.kind, wait.until, wait.details) == ("rate", waits[0].due, {"limit": "crm", "unit": "requests"})
        assert wait.what.startswith("The rate 'crm' is spent (requests); it is asked again at ")
        assert host.worker is not None
        running = host.worker
        await reaches(host, waits[0].id, lambda task: not running.running)
        cancelled = await host.cancel(waits[0].id)
        assert (await host.wait(cancelled.id, PATIENCE_S)).state is TaskState.CANCELLED


async def test_a_rate_that_refills_lets_everybody_through(tmp_path: Path) -> None:
    async def sync(ctx: RunContext) -> str:
        await ctx.take("crm")
        return "done"

    quick = {"requests_per_minute": 1200, "burst": 1}
    async with opened(tmp_path, App(functions={"sync": sync}), crm=quick) as host:
        tasks = [await host.submit("function/sync") for _ in range(6)]

        assert [(await host.wait(task.id, PATIENCE_S)).state for task in tasks] == ["succeeded"] * 6


async def test_two_processes_share_one_rate(tmp_path: Path) -> None:
    async def sync(ctx: RunContext) -> str:
        await ctx.take("crm")
        return "done"

    app = App(functions={"sync": sync})
    async with opened(tmp_path, app, crm=SLOW) as one, opened(tmp_path, app, crm=SLOW) as two:
        tasks = [await host.submit("function/sync") for host in (one, two, one, two)]
        ends = [await reaches(one, task.id, lambda task: task.state in ("succeeded", "waiting")) for task in tasks]

        assert sorted(str(task.state) for task in ends) == ["succeeded", "succeeded", "waiting", "waiting"]


async def test_what_was_taken_is_not_taken_again_when_the_run_comes_back(tmp_path: Path) -> None:
    lives = 0

    async def sync(ctx: RunContext) -> str:
        nonlocal lives
        lives += 1
        await ctx.take("crm")
        await ctx.sleep(1.2)  # long enough to park
        return "done"

    async with opened(tmp_path, App(functions={"sync": sync}), crm=SLOW) as host:
        task = await host.submit("function/sync")
        assert (await host.wait(task.id, PATIENCE_S)).state is TaskState.SUCCEEDED

        assert lives == 2
        assert await left(host.store, "crm/requests", 0.001, 2) == 1


async def test_an_unknown_limit_fails_the_run_in_words(tmp_path: Path) -> None:
    async def sync(ctx: RunContext) -> None:
        await ctx.take("crn")

    async with opened(tmp_path, App(functions={"sync": sync}), crm=SLOW) as host:
        task = await host.wait((await host.submit("function/sync")).id, PATIENCE_S)

        assert task.error is not None
        assert task.error["message"] == "There is no limit 'crn'. Known: crm."


class Once:
    """A planner that asks its model once."""

    async def run(self, context: AgentContext) -> PlannerResult:
        return PlannerResult((await context.think([Message("user", "hi")])).text)


def asks(answer: Callable[[ModelRequest], ModelResponse]) -> App:
    model = BoundModel(ScriptedModel(answer), "m", {"max_tokens": 500}, "fake:m")
    return App(agents=[Agent("a", model=model, planner=Once())])


async def test_a_model_call_takes_its_estimate_and_settles_with_what_it_used(tmp_path: Path) -> None:
    app = asks(lambda request: ModelResponse("yes", usage=Usage(20, 10)))
    rate = {"tokens_per_minute": 0.001, "requests_per_minute": 0.001, "burst": 5}
    async with opened(tmp_path, app, **{"fake:m": rate}) as host:
        task = await host.submit("agent/a", "hi")
        assert (await host.wait(task.id, PATIENCE_S)).state is TaskState.SUCCEEDED

        assert await left(host.store, "fake:m/requests", 0.001, 5) == 4
        # 30 tokens of a bucket of 5: the rate is 25 in debt, and not the hundreds of the estimate.
        with pytest.raises(Limited) as limited:
            await host.store.commit(Batch([Take("fake:m/tokens", 1, 0.001 / 60, 5)]))
        assert limited.value.retry_after_s == pytest.approx(26 * 60 / 0.001, rel=0.01)


async def test_a_model_call_that_the_rate_does_not_grant_is_not_made(tmp_path: Path) -> None:
    calls = 0

    def answer(request: ModelRequest) -> ModelResponse:
        nonlocal calls
        calls += 1
        return ModelResponse("yes")

    async with opened(tmp_path, asks(answer), fake={**SLOW, "burst": 1}) as host:
        first, second = [await host.submit("agent/a", "hi") for _ in range(2)]
        ends = [
            await reaches(host, task.id, lambda task: task.state in ("succeeded", "waiting"))
            for task in (first, second)
        ]

        assert sorted(str(task.state) for task in ends) == ["succeeded", "waiting"]
        assert calls == 1


# -- how many at once --------------------------------------------------------------------------------------------------


async def finish(host: Host, tasks: list[Task]) -> None:
    for task in tasks:
        assert (await host.wait(task.id, PATIENCE_S)).state is TaskState.SUCCEEDED


async def test_an_agent_runs_as_many_tasks_at_once_as_it_says(tmp_path: Path) -> None:
    crowd = Crowd()

    class Visits:
        async def run(self, context: AgentContext) -> PlannerResult:
            await crowd.visit()
            return PlannerResult("done")

    app = App(agents=[Agent("a", model=ScriptedModel([]), planner=Visits(), concurrency=2)])
    async with opened(tmp_path, app) as host:
        await finish(host, [await host.submit("agent/a", "hi") for _ in range(8)])

    assert (crowd.most, crowd.seen) == (2, 8)


async def test_children_and_tasks_of_other_handlers_share_a_key(tmp_path: Path) -> None:
    crowd = Crowd()

    async def visit(ctx: RunContext) -> None:
        await crowd.visit()

    async def parent(ctx: RunContext) -> None:
        await ctx.gather(*(ctx.spawn(f"function/{name}") for name in ("one", "two", "one")))

    crm = [Limit("crm", 1)]
    app = App(
        functions={"one": visit, "two": visit, "parent": parent}, limits={"function/one": crm, "function/two": crm}
    )
    async with opened(tmp_path, app) as host:
        await finish(host, [await host.submit(f"function/{name}") for name in ("parent", "one", "two")])

    assert (crowd.most, crowd.seen) == (1, 5)


async def test_a_task_may_bring_a_limit_of_its_own_and_the_stricter_counts(tmp_path: Path) -> None:
    crowd = Crowd()

    async def visit(ctx: RunContext) -> None:
        await crowd.visit()

    app = App(functions={"visit": visit}, limits={"function/visit": [Limit("crm", 4)]})
    async with opened(tmp_path, app) as host:
        await finish(host, [await host.submit("function/visit", limits=[Limit("crm", 1)]) for _ in range(4)])

    assert (crowd.most, crowd.seen) == (1, 4)


async def test_a_workflow_keeps_its_place_while_it_waits(tmp_path: Path) -> None:
    crowd = Crowd()

    class Visits:
        async def run(self, context: AgentContext) -> PlannerResult:
            await crowd.visit()
            return PlannerResult("done")

    (tmp_path / "flow.yaml").write_text(
        'opspawn: "1"\nname: flow\nconcurrency: 1\nsteps:\n'
        "  first: {uses: agent/a, with: {input: x}}\n  second: {uses: agent/a, needs: first, with: {input: x}}\n"
    )
    app = App(agents=[Agent("a", model=ScriptedModel([]), planner=Visits())], workflows=[tmp_path / "flow.yaml"])
    async with opened(tmp_path, app) as host:
        await finish(host, [await host.submit("workflow/flow", {}) for _ in range(3)])

    assert (crowd.most, crowd.seen) == (1, 6)


async def test_a_retried_task_keeps_its_limits(tmp_path: Path) -> None:
    async def fails(ctx: RunContext) -> None:
        raise ValueError("no")

    async with opened(tmp_path, App(functions={"fails": fails})) as host:
        task = await host.submit("function/fails", limits=[Limit("crm", 3)])
        await host.wait(task.id, PATIENCE_S)

        assert (await host.retry(task.id)).holds == (Limit("crm", 3).hold,)
