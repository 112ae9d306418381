"""Killed before and after each write in turn, a run ends as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import Message, ModelRequest, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Task
from opspawn.errors import ToolError
from opspawn.host import Host
from opspawn.testing import ScriptedModel, crash_everywhere, virtual_time

Begin = Callable[[Any], App]


class Runs:
    """Makes the app of each run, with a counter of its own."""

    def __init__(self, begin: Begin, counter: type) -> None:
        self._begin = begin
        self._counter = counter
        self.counts: list[Any] = []

    def __call__(self) -> App:
        self.counts.append(self._counter())
        return self._begin(self.counts[-1])


def submit(handler: str, input: Any = None) -> Any:
    """A scenario: one task, and its end."""

    async def scenario(host: Host) -> Task:
        task = await host.submit(handler, input)
        return await host.wait(task.id, 1e6)

    return scenario


@pytest.fixture
def runs(count: Any) -> Callable[[Begin], Runs]:
    return lambda begin: Runs(begin, type(count))


@virtual_time
async def test_a_function_with_steps_branches_children_time_and_a_handled_failure(runs: Any) -> None:
    def begin(count: Any) -> App:
        async def act(name: str) -> str:
            count(name)
            await asyncio.sleep(0)
            return name

        async def breaks() -> None:
            count("breaks")
            raise ValueError("no")

        async def work(ctx: Any) -> Any:
            first = await ctx.step("first", act, "first")
            when, chance = await ctx.now(), await ctx.random()
            try:
                await ctx.step("breaks", breaks)
            except Exception as error:
                await ctx.emit("handled", {"error": str(error)})
            await ctx.sleep(0.02)
            both = await ctx.gather(branch(ctx, "left"), branch(ctx, "right"), ctx.spawn("function/child", 2))
            assert when == when.astimezone()
            return [first, both, 0 <= chance < 1]

        async def branch(ctx: Any, name: str) -> Any:
            return [await ctx.step("one", act, f"{name}1"), await ctx.step("two", act, f"{name}2")]

        async def child(ctx: Any) -> Any:
            return await ctx.step("double", act, f"child{ctx.input}")

        return App(functions={"work": work, "child": child})

    made = runs(begin)

    all_runs = await crash_everywhere(made, submit("function/work"))

    assert all_runs[0].answer[1] == ["first", [["left1", "left2"], ["right1", "right2"], "child2"], True]
    assert len(all_runs) > 30
    for run, count in zip(all_runs, made.counts, strict=True):
        recorded = {event.data["key"] for journal in run.journals.values() for event in journal if "key" in event.data}
        assert {"first", "breaks", "gather/0/one", "double"} <= recorded
        # A crash repeats at most what was in flight: here two branches and a child.
        assert all(count[name] <= 2 for name in count.calls)
        assert len(count.calls) <= 7 + 3


@virtual_time
async def test_a_once_effect_never_happens_twice(runs: Any) -> None:
    paid: list[int] = []

    def begin(count: Any) -> App:
        @tool(effect="once")
        async def pay(amount: int) -> str:
            paid[-1] = count("pay")
            return f"paid {amount}"

        async def work(ctx: Any) -> Any:
            return [await ctx.call(pay, {"amount": 3}), await ctx.step("note", lambda: "noted")]

        paid.append(0)
        return App(functions={"work": work})

    def decide(doubt: Any) -> tuple[str, Any]:
        """A human looks at the account."""
        return ("happened", "paid 3") if paid[-1] else ("again", None)

    made = runs(begin)
    all_runs = await crash_everywhere(made, submit("function/work"), decide=decide)

    assert all(count["pay"] == 1 for count in made.counts)
    assert {run.doubts for run in all_runs} == {0, 1}


@virtual_time
async def test_retries_of_steps_and_of_the_task_are_counted_over_crashes(runs: Any) -> None:
    def begin(count: Any) -> App:
        tried: list[str] = []

        @tool(effect="read")
        async def look() -> str:
            raise ToolError(f"nothing there {len(tried)}")

        async def work(ctx: Any) -> Any:
            return await ctx.call(look, {}, retry=RetryPolicy(attempts=3, initial_s=0.0))

        async def parent(ctx: Any) -> Any:
            return await ctx.spawn("function/work", retry=RetryPolicy(attempts=2, initial_s=0.0))

        return App(functions={"work": work, "parent": parent})

    all_runs = await crash_everywhere(runs(begin), submit("function/parent"))

    for run in all_runs:
        journal = next(events for id, events in run.journals.items() if events[0].data.get("parent"))
        tries = [event.data["try"] for event in journal if event.type == "step.retry"]
        attempts = [event.data["attempt"] for event in journal if event.type in ("task.retry", "task.failed")]
        assert (tries, attempts) == ([1, 2, 1, 2], [1, 2])


@virtual_time
async def test_an_agent_with_tools(runs: Any) -> None:
    def begin(count: Any) -> App:
        @tool(effect="read")
        async def search(word: str) -> str:
            count(f"search {word}")
            return f"{word} is here"

        def answer(request: ModelRequest) -> Any:
            count(f"think {len(request.messages)}")
            if len(request.messages) == 1:
                return [ToolCall("1", "search", {"word": "a"}), ToolCall("2", "search", {"word": "b"})]
            return " and ".join(message.content for message in request.messages[2:])

        async def work(ctx: Any) -> Any:
            model = BoundModel(ScriptedModel(answer), "m")
            agent = AgentRun(ctx, name="a", instructions="", model=model, tools=[search], max_steps=3)
            messages = [Message("user", ctx.input)]
            said = await agent.think(messages)
            results = await agent.act(said.tool_calls)
            messages += [Message("assistant", tool_calls=said.tool_calls)]
            messages += [Message("tool", result.content, tool_call_id=result.call_id) for result in results]
            return (await agent.think(messages)).text

        return App(functions={"work": work})

    made = runs(begin)

    all_runs = await crash_everywhere(made, submit("function/work", "Where?"))

    assert all_runs[0].answer[1] == "a is here and b is here"
    for count in made.counts:
        assert len(count.calls) <= 4 + 2


@virtual_time
async def test_a_workflow(tmp_path: Path, runs: Any) -> None:
    flow = tmp_path / "w.json"
    flow.write_text(
        json.dumps(
            {
                "opspawn": "1",
                "name": "w",
                "steps": {
                    "a": {"uses": "tool/say", "with": {"word": "a"}},
                    "b": {"uses": "tool/say", "with": {"word": "b"}},
                    "c": {"uses": "agent/helper", "needs": ["a", "b"], "with": {"input": "${{ steps.a.output }}"}},
                    "d": {"uses": "tool/say", "needs": "c", "with": {"word": "${{ steps.c.output }}"}},
                },
                "output": "${{ steps.d.output }}",
            }
        )
    )

    class Helps:
        async def run(self, context: Any) -> PlannerResult:
            return PlannerResult(await context.step("help", lambda: f"helped {context.input}"), "answered")

    def begin(count: Any) -> App:
        @tool(effect="idempotent")
        async def say(word: str) -> str:
            count(word)
            return f"<{word}>"

        helper = Agent("helper", model=ScriptedModel([]), planner=Helps())
        return App(agents=[helper], tools=[say], workflows=[flow])

    made = runs(begin)

    all_runs = await crash_everywhere(made, submit("workflow/w"))

    assert all_runs[0].answer[1] == "<helped <a>>"
    for count in made.counts:
        assert len(count.calls) <= 3 + 2


@virtual_time
async def test_effects_are_compared(runs: Any) -> None:
    """An idempotent step may happen again after a crash, which who counts its calls then sees."""

    def begin(count: Any) -> App:
        async def work(ctx: Any) -> Any:
            return await ctx.step("note", lambda: count("note") and "noted")

        return App(functions={"work": work})

    made = runs(begin)

    with pytest.raises(AssertionError, match=r"killed before write 2: the effects are \['note', 'note'\], undisturbed"):
        await crash_everywhere(made, submit("function/work"), effects=lambda: made.counts[-1].calls)
    await crash_everywhere(made, submit("function/work"), effects=lambda: set(made.counts[-1].calls))


@virtual_time
async def test_a_scenario_may_decide_itself(runs: Any) -> None:
    def begin(count: Any) -> App:
        async def work(ctx: Any) -> Any:
            return await ctx.step("pay", lambda: count("pay") and "paid", effect="once")

        return App(functions={"work": work})

    made = runs(begin)

    async def pays(host: Host) -> Task:
        task = await host.submit("function/work")
        ended = await host.wait(task.id, 1e6)
        if ended.state == "in_doubt":
            happened = made.counts[-1]["pay"] > 0
            await host.resolve(task.id, "happened" if happened else "again", "paid" if happened else None)
            ended = await host.wait(task.id, 1e6)
        return ended

    await crash_everywhere(made, pays, effects=lambda: made.counts[-1].calls)

    assert all(count.calls == ["pay"] for count in made.counts)


async def test_in_real_time_it_is_sqlite_that_survives(runs: Any) -> None:
    def begin(count: Any) -> App:
        async def work(ctx: Any) -> Any:
            return [await ctx.step(name, lambda: "done") for name in ("a", "b")]

        return App(functions={"work": work})

    all_runs = await crash_everywhere(runs(begin), submit("function/work"))

    assert len(all_runs) == 1 + 2 * all_runs[0].writes
    assert {str(run.answer) for run in all_runs} == {str(all_runs[0].answer)}


@virtual_time
async def test_a_run_that_ends_differently_is_reported(runs: Any) -> None:
    def begin(count: Any) -> App:
        async def work(ctx: Any) -> Any:
            return [count("not durable"), await ctx.step("note", lambda: "noted")]

        return App(functions={"work": work})

    with pytest.raises(AssertionError, match=r"killed before write 2: the answer is .*undisturbed"):
        await crash_everywhere(runs(begin), submit("function/work"))
