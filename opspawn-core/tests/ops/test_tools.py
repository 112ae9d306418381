"""Tools over a crash: what was offered, what was cut, how often the model was asked again; all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from opspawn import ModelRetry, tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import Message, ToolCall
from opspawn.contracts.run import RunContext
from opspawn.contracts.store import TaskState
from opspawn.contracts.tool import Tool, ToolContext
from opspawn.testing import ScriptedModel


def agent(ctx: RunContext, model: ScriptedModel, tools: Sequence[Any] = (), sources: Sequence[Any] = ()) -> AgentRun:
    bound = BoundModel(model, "m")
    return AgentRun(
        ctx,
        name="a",
        instructions="",
        model=bound,
        tools=tools,
        max_steps=9,
        sources=sources,  # type: ignore[arg-type]
    )


class Shelf:
    """A source with the tools of now."""

    name = "shelf"

    def __init__(self, *tools: Any) -> None:
        self.now: list[Tool] = list(tools)
        self.asked = 0

    async def tools(self, context: ToolContext) -> Sequence[Tool]:
        self.asked += 1
        return self.now


@tool(effect="read")
async def find(word: str) -> str:
    """Find."""
    return f"found {word}"


class Crash:
    """A step that never ends in the first life of a run, which is then killed in the middle of it."""

    def __init__(self) -> None:
        self.began = 0

    async def here(self, ctx: RunContext) -> None:
        await ctx.step("crash", self._hang)

    async def _hang(self) -> None:
        self.began += 1
        if self.began == 1:
            await asyncio.sleep(60)


async def interrupted(house: Any, crash: Crash, work: Any, meanwhile: Any = lambda: None) -> Any:
    """Run `work(ctx)` until the crash, and let another worker go on."""
    house.functions["work"] = work
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: crash.began == 1)
    await house.kill(worker)
    meanwhile()
    house.worker()
    return await house.settled(task)


async def test_a_source_that_changed_meanwhile_changes_nothing_that_is_recorded(house: Any) -> None:
    """Named guard: the names in the record of a model call. Without them the recorded call would be refused."""
    shelf = Shelf(find)
    model = ScriptedModel([ToolCall("1", "find", {"word": "a"}), "-"])

    crash = Crash()

    async def work(ctx: Any) -> Any:
        run = agent(ctx, model, sources=[shelf])
        response = await run.think([Message("user", "?")])
        (result,) = await run.act(response.tool_calls)
        await crash.here(ctx)
        (late,) = await run.act([ToolCall("2", "find", {"word": "b"})])
        return [result.content, late.content]

    task = await interrupted(house, crash, work, meanwhile=shelf.now.clear)

    assert task.state is TaskState.SUCCEEDED, task.error
    assert task.result == ["found a", "The tool 'find' is no longer there."]
    assert len(model.requests) == 1


async def test_a_source_is_not_asked_for_what_the_journal_answers(house: Any) -> None:
    shelf = Shelf(find)
    model = ScriptedModel([ToolCall("1", "find", {"word": "a"}), "-"])

    crash = Crash()

    async def work(ctx: Any) -> Any:
        run = agent(ctx, model, sources=[shelf])
        await run.think([Message("user", "?")])
        await crash.here(ctx)
        return None

    task = await interrupted(house, crash, work)

    assert task.state is TaskState.SUCCEEDED, task.error
    assert shelf.asked == 1


async def test_a_long_result_can_be_read_on_after_a_crash(house: Any, count: Any) -> None:
    @tool(effect="read", max_result=256)
    async def book() -> str:
        count("book")
        return "".join(f"{n:04d} " for n in range(1000))

    model = ScriptedModel(["-"])

    crash = Crash()

    async def work(ctx: Any) -> Any:
        run = agent(ctx, model, [book])
        (cut,) = await run.act([ToolCall("1", "book", {})])
        await crash.here(ctx)
        await run.think([Message("user", "?")])
        (more,) = await run.act([ToolCall("2", "read_result", {"handle": cut.handle, "offset": 300, "limit": 10})])
        return more.content

    task = await interrupted(house, crash, work)

    assert task.result == "0060 0061 \n[Characters 300 to 310 of 5000. Read on from offset=310.]", task.error
    assert count["book"] == 1
    assert [spec.name for spec in model.requests[0].tools] == ["book", "read_result"]


async def test_turns_in_which_the_model_was_asked_again_count_over_a_crash(house: Any, count: Any) -> None:
    @tool(effect="read", max_retries=1)
    async def look(word: str) -> str:
        count("look")
        raise ModelRetry("There is no such word.")

    crash = Crash()

    async def work(ctx: Any) -> Any:
        run = agent(ctx, ScriptedModel([]), [look])
        told = []
        for number in range(3):
            told += await run.act([ToolCall(str(number), "look", {"word": "x"})])
            if number == 0:
                await crash.here(ctx)
        return [result.error_type for result in told]

    task = await interrupted(house, crash, work)

    assert task.result == ["retry", "tool_error", "denied"], task.error
    assert count["look"] == 2
