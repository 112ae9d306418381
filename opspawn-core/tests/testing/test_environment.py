"""An app in virtual time: a month takes milliseconds, and a crash costs nothing that was recorded."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn import Agent, App, tool
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.planner import PlannerResult
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Append, Batch
from opspawn.errors import InvalidInput, ToolError
from opspawn.testing import InvariantsBroken, ScriptedModel, TestEnvironment, virtual_time


async def sleeper(ctx: Any) -> str:
    await ctx.sleep(timedelta(days=ctx.input).total_seconds())
    return (await ctx.now()).isoformat()


@virtual_time
async def test_a_run_that_sleeps_for_a_month_wakes_to_the_second() -> None:
    async with TestEnvironment(App(functions={"sleeper": sleeper})) as env:
        task = await env.submit("function/sleeper", 30)
        await env.advance(timedelta(days=30) - timedelta(microseconds=1))
        before = await env.task(task)
        await env.advance(timedelta(microseconds=1))
        after = await env.task(task)

    assert before.state == "waiting"
    assert after.state == "succeeded"
    assert datetime.fromisoformat(after.result) == datetime(2026, 1, 31, tzinfo=UTC)


@virtual_time
async def test_waiting_lets_time_pass_by_itself() -> None:
    async with TestEnvironment(App(functions={"sleeper": sleeper})) as env:
        assert await env.run("function/sleeper", 3) == "2026-01-04T00:00:00+00:00"
        assert env.clock.now() == datetime(2026, 1, 4, tzinfo=UTC)


@virtual_time
async def test_tasks_run_in_the_order_of_real_time() -> None:
    seen: list[tuple[str, datetime]] = []

    async def note(ctx: Any) -> None:
        seen.append((ctx.input, env.clock.now()))

    async with TestEnvironment(App(functions={"note": note})) as env:
        for name, delay_s in (("last", 86400.0), ("first", 0.0), ("second", 7.5)):
            await env.submit("function/note", name, delay_s=delay_s)
        await env.advance("2d")

    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert seen == [
        ("first", start),
        ("second", start + timedelta(seconds=7.5)),
        ("last", start + timedelta(days=1)),
    ]


@virtual_time
async def test_backoffs_take_the_time_that_they_say() -> None:
    tried: list[float] = []

    @tool(effect="read")
    async def look() -> str:
        tried.append(env.clock.monotonic())
        raise ToolError("nothing there")

    async def work(ctx: Any) -> Any:
        policy = RetryPolicy(attempts=4, initial_s=60.0, factor=10.0, max_s=86400.0, jitter=False)
        return await ctx.call(look, {}, retry=policy)

    async with TestEnvironment(App(functions={"work": work})) as env:
        task = await env.wait(await env.submit("function/work"))

    assert task.state == "failed"
    assert [round(when, 3) for when in tried] == [0.0, 60.0, 660.0, 6660.0]


@virtual_time
async def test_a_crash_in_the_middle_repeats_no_recorded_step() -> None:
    done: list[str] = []

    async def act(name: str) -> str:
        done.append(name)
        await asyncio.sleep(10.0)
        return name

    async def work(ctx: Any) -> Any:
        return [await ctx.step(name, act, name) for name in ("a", "b", "c")]

    async with TestEnvironment(App(functions={"work": work})) as env:
        task = await env.submit("function/work")
        await env.advance(15.0)
        await env.crash()
        ended = await env.wait(task)
        claims = [event for event in await env.journal(task) if event.type == "task.claimed"]

    assert ended.result == ["a", "b", "c"]
    assert done == ["a", "b", "b", "c"]
    assert [event.data["deliveries"] for event in claims] == [0, 1]


@virtual_time
async def test_a_graceful_restart_lets_the_step_in_flight_end() -> None:
    done: list[str] = []

    async def act(name: str) -> str:
        await asyncio.sleep(10.0)
        done.append(name)
        return name

    async def work(ctx: Any) -> Any:
        return [await ctx.step(name, act, name) for name in ("a", "b", "c")]

    async with TestEnvironment(App(functions={"work": work})) as env:
        task = await env.submit("function/work")
        await env.advance(15.0)
        await env.restart()
        ended = await env.wait(task)

    assert done == ended.result == ["a", "b", "c"]


@virtual_time
async def test_agents_with_plain_functions_as_tools_run_too() -> None:
    class Asks:
        async def run(self, context: Any) -> PlannerResult:
            said = await context.think([Message("user", context.input)])
            [result] = await context.act(said.tool_calls)
            return PlannerResult(result.content, "answered")

    @tool(effect="read")
    def search(word: str) -> str:
        """In a thread, which virtual time waits for."""
        return f"{word} is here"

    model = ScriptedModel([ToolCall("1", "search", {"word": "token"})])
    agent = Agent("helper", model=model, planner=Asks(), tools=[search])

    async with TestEnvironment(App(agents=[agent])) as env:
        assert await env.run("agent/helper", "Where?") == "token is here"


@virtual_time
async def test_what_does_not_end_is_told_with_its_last_event() -> None:
    async with TestEnvironment(App(functions={"sleeper": sleeper})) as env:
        task = await env.submit("function/sleeper", 30)
        with pytest.raises(AssertionError, match=r"still waiting after 1h; its last event is .*task\.waiting"):
            await env.wait(task, "1h")


@virtual_time
async def test_a_broken_promise_fails_the_test() -> None:
    async def break_it() -> None:
        async with TestEnvironment(App(functions={"sleeper": sleeper})) as env:
            task = await env.submit("function/sleeper", 1, delay_s=60.0)
            await env.store.commit(Batch([Append(task.id, NewEvent("custom.lost"))]))

    with pytest.raises(InvariantsBroken, match=r"custom\.lost while it is queued"):
        await break_it()


async def test_in_real_time_it_says_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="@virtual_time"):
        async with TestEnvironment(App()):
            pass
