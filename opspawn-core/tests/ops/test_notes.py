"""Notes that a tool puts down within a call: kept in the journal, and found when the call is made again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import GoOn, RetryPolicy, ToolContext, tool
from opspawn.agentkit.context import Context
from opspawn.agentkit.memory_log import MemoryLog
from opspawn.contracts.store import TaskState
from opspawn.contracts.tool import CallNotes

AGAIN = RetryPolicy(attempts=2, initial_s=0.01, when=("transient",))


@pytest.fixture
def seen() -> list[list[Any]]:
    """What each call found in its notes when it began."""
    return []


def notes_of(context: ToolContext) -> CallNotes:
    assert context.notes is not None
    return context.notes


@pytest.fixture
def order(house: Any, count: Any, seen: list[list[Any]]) -> Any:
    """function/work orders: the service is asked once, and gives a number that is waited for."""

    def make(effect: Any, said: Any = None) -> None:
        async def order(context: ToolContext) -> str:
            notes = notes_of(context)
            seen.append(list(notes.read()))
            if not notes.read():
                count("asked")
                await notes.write({"number": 7})
            if count("waited") == 1:
                await asyncio.sleep(60)
            return f"number {notes.read()[-1]['number']}"

        def check(arguments: Any, context: ToolContext) -> Any:
            return said if notes_of(context).read() else None

        made = tool(effect=effect, **({"check": check} if effect == "once" else {}))(order)

        @house.function
        async def work(ctx: Any) -> Any:
            return await ctx.call(made, {})

    return make


async def after_a_crash(house: Any, count: Any) -> Any:
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["waited"] == 1)
    await house.kill(worker)
    house.worker()
    return await house.settled(task)


@pytest.mark.parametrize("said", [GoOn(), GoOn])
async def test_a_once_call_goes_on_from_its_notes_if_its_check_says_so(
    house: Any, count: Any, order: Any, seen: Any, said: Any
) -> None:
    order("once", said)

    task = await after_a_crash(house, count)

    assert task.result == "number 7"
    assert count["asked"] == 1
    assert seen == [[], [{"number": 7}]]
    assert [event.data["outcome"] for event in await house.events(task, "task.resolved")] == ["again"]


async def test_notes_alone_do_not_settle_a_doubt(house: Any, count: Any, order: Any) -> None:
    order("once")

    assert (await after_a_crash(house, count)).state is TaskState.IN_DOUBT


async def test_a_call_that_may_be_repeated_finds_its_notes(house: Any, count: Any, order: Any, seen: Any) -> None:
    order("idempotent")

    task = await after_a_crash(house, count)

    assert (task.result, count["asked"], seen) == ("number 7", 1, [[], [{"number": 7}]])
    assert [event.data["note"] for event in await house.events(task, "call.noted")] == [{"number": 7}]


async def test_notes_outlast_a_failed_try_in_the_same_life_and_are_of_one_call(house: Any, seen: Any) -> None:
    @tool(effect="read")
    async def look(context: ToolContext, name: str) -> int:
        """Look."""
        notes = notes_of(context)
        await notes.write(name)
        seen.append(list(notes.read()))
        if len(notes.read()) < 2:
            raise ConnectionError("not now")
        return len(notes.read())

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.call(look, {"name": name}, retry=AGAIN) for name in ("a", "b")]

    house.worker()
    task = await house.settled(await house.submit("work"))

    assert task.result == [2, 2]
    assert seen == [["a"], ["a", "a"], ["b"], ["b", "b"]]


async def test_a_call_that_is_cut_off_knows_whether_its_run_was_asked_to_end(house: Any, count: Any) -> None:
    ends: list[bool] = []

    @tool(effect="read")
    async def wait(context: ToolContext) -> None:
        """Wait."""
        count("waits")
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(notes_of(context).cancelled)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(wait, {})

    worker = house.worker(drain_s=0.01)
    task = await house.submit("work")
    await house.until(lambda: count["waits"] == 1)
    await house.stop(worker)
    house.worker()
    await house.until(lambda: count["waits"] == 2)
    await house.engine.cancel(task.id)
    await house.settled(task)

    assert ends == [False, True]


async def test_a_run_in_memory_has_notes_too() -> None:
    @tool(effect="read")
    async def look(context: ToolContext) -> int:
        """Look."""
        await notes_of(context).write("seen")
        if len(notes_of(context).read()) < 2:
            raise ConnectionError("not now")
        return len(notes_of(context).read())

    ctx = Context(MemoryLog(), name="a")

    assert await ctx.call(look, {}, retry=AGAIN) == 2
