"""Durable budgets: what was used survives the worker, and a child never has more than its parent lent it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import Agent, Budget, BudgetExceeded, Cheaper, tool
from opspawn.agentkit.kit import Kit
from opspawn.contracts.model import Message, ModelRequest, ModelResponse, ToolCall, Usage
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import AgentContext
from opspawn.contracts.store import Query, Task, TaskState
from opspawn.errors import InvalidInput, StepError
from opspawn.plugins.manager import Plugins
from opspawn.testing import ScriptedModel

SMALL = {"max_tokens": 50}


class Thrice:
    """Thinks as often as it is told, and answers with how often it could."""

    def __init__(self, times: int = 3) -> None:
        self.times = times

    async def run(self, context: AgentContext) -> PlannerResult:
        for n in range(self.times):
            await context.think([Message("user", f"Thought {n}?")])
        return PlannerResult("done")


class Slow:
    """A model that answers with 100 tokens, and never answers its `hangs`-th request."""

    def __init__(self, hangs: int = 0) -> None:
        self.asked: list[str] = []
        self._hangs = hangs

    async def complete(self, request: ModelRequest, on_delta: Any = None) -> ModelResponse:
        self.asked.append(request.messages[-1].content)
        if len(self.asked) == self._hangs:
            await asyncio.Event().wait()
        return ModelResponse("Hm.", usage=Usage(90, 10, requests=1))

    async def aclose(self) -> None: ...


def handler(model: Any, planner: Any = None, **options: Any) -> Any:
    agent = Agent("thinker", model=model, planner=planner or Thrice(), settings=SMALL, **options)
    return agent.handler(Kit(Plugins([])))


async def test_what_a_run_may_use_is_given_with_its_task(house: Any) -> None:
    house.functions["think"] = handler(Slow())
    task = await house.run("think", budget=Budget(tokens=250))

    assert task.state is TaskState.FAILED
    error = task.error
    assert (error["type"], error["reason"], error["limit"], error["allowed"]) == ("budget", "budget", "tokens", 250)
    [ended] = await house.events(task, "agent.answered")
    assert ended.data["reason"] == "budget"


async def test_without_a_budget_nothing_is_reserved(house: Any) -> None:
    house.functions["think"] = handler(Slow())
    task = await house.run("think")
    assert task.result == "done"
    assert await house.events(task, "usage.reserved", "usage.unknown") == []


async def test_a_call_that_was_cut_off_is_charged_as_reserved_and_marked(house: Any) -> None:
    model = Slow(hangs=2)
    house.functions["think"] = handler(model)
    worker = house.worker()
    task = await house.submit("think", budget=Budget(requests=9))
    await house.until(lambda: len(model.asked) == 2)
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).result == "done"
    assert model.asked == ["Thought 0?", "Thought 1?", "Thought 1?", "Thought 2?"]
    reserved = await house.events(task, "usage.reserved")
    [unknown] = await house.events(task, "usage.unknown")
    assert [(one.data["key"], one.data["n"]) for one in reserved] == [
        ("think", 0), ("think#1", 0), ("think#1", 1), ("think#2", 0)
    ]  # fmt: skip
    assert unknown.data == reserved[1].data
    assert unknown.data["tokens"] > 50


async def test_spending_survives_the_worker(house: Any) -> None:
    model = Slow(hangs=2)
    house.functions["think"] = handler(model)
    worker = house.worker()
    task = await house.submit("think", budget=Budget(requests=3))
    await house.until(lambda: len(model.asked) == 2)
    await house.kill(worker)
    house.worker()

    ended = await house.settled(task)
    assert ended.error["message"].startswith("The budget is used up: 3 of 3 requests are used")
    assert len(model.asked) == 3


async def test_a_cancelled_call_is_charged_too(house: Any) -> None:
    model = Slow(hangs=1)
    house.functions["think"] = handler(model)
    house.worker()
    task = await house.submit("think", budget=Budget(requests=9))
    await house.until(lambda: len(model.asked) == 1)
    await house.engine.cancel(task.id)
    assert (await house.settled_for_good(task)).state is TaskState.CANCELLED
    assert len(await house.events(task, "usage.unknown")) == 1


async def test_a_refusal_is_recorded_and_met_again_by_a_replay_that_could_afford_it(house: Any) -> None:
    called, told, lives = [], [], []

    @tool(effect="read")
    async def look(n: int) -> int:
        called.append(n)
        return n

    @house.function
    async def child(ctx: Any) -> None:
        await ctx.sleep(0.5)

    @house.function
    async def chief(ctx: Any) -> Any:
        lives.append(ctx)

        async def looks() -> None:
            await asyncio.sleep(0.1)  # the child has half of the budget by then
            await ctx.call(look, {"n": 1})
            try:
                await ctx.call(look, {"n": 2})
            except BudgetExceeded as error:
                told.append(str(error))

        await ctx.gather(ctx.spawn("function/child"), looks())
        await ctx.sleep(1.5)
        return "done"

    task = await house.run("chief", budget=Budget(tool_calls=2))
    assert task.result == "done"
    assert called == [1]
    assert len(lives) > 1
    assert len(set(told)) == 1


async def test_a_human_is_asked_for_more_and_the_answer_survives_a_restart(house: Any) -> None:
    model = Slow()
    house.functions["think"] = handler(model)
    worker = house.worker()
    task = await house.submit("think", budget=Budget(requests=1, on_exceed="ask"))
    await house.reaches(task, TaskState.WAITING)
    await house.stop(worker)
    [asked] = (await house.engine.approvals(Query(where={"root": task.id}))).items
    assert asked.question.call["arguments"] == {"requests": 1}
    await house.engine.approve(asked.id, arguments={"requests": 2}, by="ada")
    house.worker()

    assert (await house.settled(task)).result == "done"
    assert len(model.asked) == 3
    [raised] = await house.events(task, "budget.raised")
    assert (raised.data["by"], raised.data["limits"], raised.data["purse"]) == ("ada", {"requests": 2}, "task")
    assert (await house.engine.question(asked.id)).consumed_by == asked.key


async def test_a_parent_lends_and_gets_the_rest_back(house: Any) -> None:
    model = Slow()
    house.functions["think"] = handler(model)

    @house.function
    async def chief(ctx: Any) -> Any:
        told = []
        for _ in range(3):
            try:
                told.append(await ctx.spawn("function/think"))
            except StepError as error:
                told.append(error.error_type)
        return told

    task = await house.run("chief", budget=Budget(requests=10))
    # 5 of 10 are lent and 3 used; 3 of 7; 2 of 4, which do not suffice.
    assert task.result == ["done", "done", "budget"]
    assert len(model.asked) == 8
    lent = [event.data["lent"] for event in await house.events(task, "child.spawned")]
    spent = [event.data["spent"]["requests"] for event in await house.events(task, "child.ended")]
    assert (lent, spent) == ([{"requests": 5}, {"requests": 3}, {"requests": 2}], [3, 3, 2])


async def test_a_fallback_gets_what_is_left(house: Any) -> None:
    class Breaks(Thrice):
        async def run(self, context: AgentContext) -> PlannerResult:
            await super().run(context)
            raise ValueError("broken")

    model = Slow()
    house.functions["backup"] = handler(model, Thrice(9))
    house.functions["think"] = handler(Slow(), Breaks(2))
    task = await house.run("think", budget=Budget(requests=5), fallback="function/backup")
    assert task.error["fallback"]["error"]["type"] == "budget"
    assert len(model.asked) == 3


async def test_what_spawns_itself_without_end_stops_at_a_depth(house: Any) -> None:
    @house.function
    async def again(ctx: Any) -> Any:
        return await ctx.spawn("function/again", ctx.input + 1)

    task = await house.run("again", 0)
    assert task.error["type"] == "budget"
    assert "more than 32 tasks deep" in task.error["message"]
    assert len((await house.store.find_tasks(Query(limit=200))).items) == 1 + 32


async def test_a_depth_counts_from_the_run_that_has_the_budget(house: Any) -> None:
    @house.function
    async def below(ctx: Any) -> Any:
        return await ctx.spawn("function/below", ctx.input + 1) if ctx.input < 5 else "deep"

    task = await house.run("below", 0, budget=Budget(depth=2))
    assert "levels below the run" in task.error["message"]
    assert len(await house.children(await house.engine.task(task.id))) == 1
    assert (await house.run("below", 0, budget=Budget(depth=5))).result == "deep"


async def test_a_budget_that_goes_on_with_another_model_belongs_to_the_agent(house: Any) -> None:
    house.functions["think"] = handler(Slow())
    with pytest.raises(InvalidInput, match="cannot go on with another model"):
        await house.submit("think", budget=Budget(tokens=5, on_exceed=Cheaper("openai:gpt-5-mini")))


async def test_a_cheaper_model_goes_on_after_a_restart(house: Any) -> None:
    dear, cheap = Slow(), Slow(hangs=1)
    house.functions["think"] = handler(dear, Thrice(4), budget=Budget(requests=2, on_exceed=Cheaper(cheap, more=2.0)))
    worker = house.worker()
    task = await house.submit("think")
    await house.until(lambda: len(cheap.asked) == 1)
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).result == "done"
    assert (len(dear.asked), len(cheap.asked)) == (2, 3)
    assert len(await house.events(task, "budget.raised")) == 1


async def test_tool_calls_count_once_over_crashes(house: Any) -> None:
    started: list[int] = []

    @tool(effect="read")
    async def look(n: int) -> str:
        started.append(n)
        if len(started) == 1:
            await asyncio.Event().wait()
        return "ok"

    class Looks:
        async def run(self, context: AgentContext) -> PlannerResult:
            for n in range(2):
                await context.act([ToolCall(str(n), "look", {"n": n})])
            return PlannerResult("done")

    house.functions["think"] = handler(ScriptedModel([]), Looks(), tools=[look])
    worker = house.worker()
    task: Task = await house.submit("think", budget=Budget(tool_calls=2))
    await house.until(lambda: bool(started))
    await house.kill(worker)
    house.worker()
    assert (await house.settled(task)).result == "done"
    assert started == [0, 0, 1]
