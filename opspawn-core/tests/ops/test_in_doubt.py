"""A `once` effect that began, and whose end is not recorded, is never begun again without a human's word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import ToolCall
from opspawn.contracts.store import TaskState
from opspawn.errors import InvalidInput, InvalidTransition
from opspawn.testing import ScriptedModel


@pytest.fixture
def work(house: Any, count: Any, kind: str) -> Any:
    """function/work pays, once, as a step, a call, or an agent's act. The first payment never comes back."""

    async def pay(amount: int) -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return f"paid {amount}"

    paying = tool(effect="once")(pay)

    @house.function
    async def work(ctx: Any) -> Any:
        if kind == "step":
            return await ctx.step("pay", pay, 3, effect="once")
        if kind == "call":
            return await ctx.call(paying, {"amount": 3})
        model = BoundModel(ScriptedModel(["-"]), "m")
        agent = AgentRun(ctx, name="a", instructions="", model=model, tools=[paying], max_steps=1)
        [result] = await agent.act([ToolCall("c1", "pay", {"amount": 3})])
        return {"call": result.call_id, "said": result.content, "value": result.value, "error": result.is_error}

    return work


async def in_doubt(house: Any, count: Any) -> Any:
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    house.worker()
    return await house.settled(task)


@pytest.mark.parametrize("kind", ["step", "call", "act"])
async def test_the_task_goes_in_doubt_and_tells_what_began(house: Any, count: Any, work: Any, kind: str) -> None:
    """Named guard: the intent before a `once` effect."""
    task = await in_doubt(house, count)

    assert task.state is TaskState.IN_DOUBT
    assert task.error["type"] == "in_doubt"
    assert task.error["name"] == "pay"
    assert task.error["arguments"] == ([3] if kind == "step" else {"amount": 3})
    assert task.error["key"] == ("act/0" if kind == "act" else "pay")
    assert count["pay"] == 1
    assert task.attempt == 0


@pytest.mark.parametrize("kind", ["step", "call", "act"])
async def test_happened_answers_with_the_result_that_the_human_gives(
    house: Any, count: Any, work: Any, kind: str
) -> None:
    task = await in_doubt(house, count)

    await house.engine.resolve(task.id, "happened", "paid by hand")
    ended = await house.settled(task)

    said = {"call": "c1", "said": "paid by hand", "value": "paid by hand", "error": False}
    assert ended.result == (said if kind == "act" else "paid by hand")
    assert ended.error is None
    assert count["pay"] == 1


@pytest.mark.parametrize("kind", ["step", "call", "act"])
async def test_again_begins_it_again(house: Any, count: Any, work: Any, kind: str) -> None:
    task = await in_doubt(house, count)

    await house.engine.resolve(task.id, "again")
    ended = await house.settled(task)

    said = {"call": "c1", "said": "paid 3", "value": "paid 3", "error": False}
    assert ended.result == (said if kind == "act" else "paid 3")
    assert count["pay"] == 2


@pytest.mark.parametrize("kind", ["step", "call"])
async def test_fail_fails_the_step(house: Any, count: Any, work: Any, kind: str) -> None:
    task = await in_doubt(house, count)

    await house.engine.resolve(task.id, "fail")
    ended = await house.settled(task)

    assert ended.state is TaskState.FAILED
    assert (ended.error["type"], ended.error["class"]) == ("tool_error", "ToolError")
    assert "An operator decided that 'pay' failed" in ended.error["message"]
    assert count["pay"] == 1


@pytest.mark.parametrize("kind", ["act"])
async def test_fail_tells_an_agent_in_words(house: Any, count: Any, work: Any, kind: str) -> None:
    task = await in_doubt(house, count)

    await house.engine.resolve(task.id, "fail")
    ended = await house.settled(task)

    assert ended.result["error"] is True
    assert "An operator decided that 'pay' failed" in ended.result["said"]


@pytest.mark.parametrize("kind", ["step"])
async def test_only_a_task_in_doubt_can_be_resolved_and_only_in_three_ways(
    house: Any, count: Any, work: Any, kind: str
) -> None:
    task = await in_doubt(house, count)

    with pytest.raises(InvalidInput, match=r"There is no outcome 'maybe'\. Choose happened, not-happened, again, fail"):
        await house.engine.resolve(task.id, "maybe")
    with pytest.raises(InvalidInput, match="The result is not JSON"):
        await house.engine.resolve(task.id, "happened", object())
    await house.engine.resolve(task.id, "happened", {"1": (2, 3)})
    ended = await house.settled(task)
    assert ended.result == {"1": [2, 3]}
    with pytest.raises(InvalidTransition, match="has succeeded; there is nothing to resolve"):
        await house.engine.resolve(task.id, "happened")


async def test_an_effect_that_may_be_repeated_is_just_done_again(house: Any, count: Any) -> None:
    async def fetch() -> str:
        if count("fetch") == 1:
            await asyncio.sleep(60)
        return "fetched"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("fetch", fetch)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["fetch"] == 1)
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).result == "fetched"
    assert count["fetch"] == 2


async def test_code_that_catches_everything_does_not_get_past_a_doubt(house: Any, count: Any) -> None:
    """A broad `except` must not turn a doubt into an answer, nor spin: the run never hears of it."""

    async def pay() -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return "paid"

    @house.function
    async def work(ctx: Any) -> Any:
        while True:
            try:
                return await ctx.step("pay", pay, effect="once")
            except Exception:
                count("swallowed")

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).state is TaskState.IN_DOUBT
    assert (count["pay"], count["swallowed"]) == (1, 0)


async def test_code_that_catches_everything_does_not_get_past_a_mismatch(house: Any, count: Any) -> None:
    async def say(word: str) -> str:
        return word

    @house.function
    async def work(ctx: Any) -> Any:
        try:
            await ctx.step("say", say, f"hello {count('work')}")
        except Exception:
            return "went on"
        return await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> None:
        return None

    assert (await house.run("work")).state is TaskState.PAUSED


async def test_steps_in_flight_beside_a_doubt_end_and_are_recorded(house: Any, count: Any) -> None:
    """Otherwise one doubt would make more of them."""
    go = asyncio.Event()

    async def pay() -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return "paid"

    async def ship() -> str:
        count("ship")
        await go.wait()
        return "shipped"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(shipping(ctx, count("life")), ctx.step("pay", pay, effect="once"))

    async def shipping(ctx: Any, life: int) -> Any:
        if life == 1:
            await asyncio.sleep(60)
        return await ctx.step("ship", ship, effect="once")

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    house.worker()
    asyncio.get_running_loop().call_later(0.1, go.set)
    doubted = await house.settled(task)
    await house.engine.resolve(doubted.id, "happened", "paid")
    ended = await house.settled(task)

    assert doubted.error["name"] == "pay"
    assert ended.result == ["shipped", "paid"]
    assert (count["pay"], count["ship"]) == (1, 1)


async def test_a_doubt_is_inherited_by_the_next_generation(house: Any, count: Any) -> None:
    """To retry a cancelled task is no word about what it had begun."""

    async def pay() -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return "paid"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("pay", pay, effect="once")

    house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.engine.cancel(task.id)
    await house.reaches(task, TaskState.CANCELLED)

    again = await house.settled(await house.engine.retry(task.id))

    assert again.state is TaskState.IN_DOUBT
    assert count["pay"] == 1


async def test_what_an_operator_said_happened_is_inherited_too(house: Any, count: Any) -> None:
    async def pay() -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return "paid"

    async def ship() -> str:
        if count("ship") == 1:
            raise ValueError("no stock")
        return "shipped"

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("pay", pay, effect="once"), await ctx.step("ship", ship)]

    task = await in_doubt(house, count)
    await house.engine.resolve(task.id, "happened", "paid by hand")
    failed = await house.settled(task)

    again = await house.settled(await house.engine.retry(task.id))

    assert failed.state is TaskState.FAILED
    assert again.result == ["paid by hand", "shipped"]
    assert count["pay"] == 1
