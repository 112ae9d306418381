"""Doubts that a tool's own check settles, several doubts in one task, and what the journal keeps of a decision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import DidNotHappen, Happened, ToolContext, tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import ToolCall
from opspawn.contracts.store import TaskState
from opspawn.errors import ConfigError, InvalidInput, InvalidTransition
from opspawn.testing import ScriptedModel

KINDS = ("step", "call", "act")


@pytest.fixture
def asked() -> list[Any]:
    """What the check was asked about."""
    return []


@pytest.fixture
def paying(house: Any, count: Any, asked: list[Any]) -> Any:
    """function/work pays, once; the first payment never comes back. `said` is what its check says."""

    def make(kind: str, said: Any) -> None:
        async def pay(amount: int) -> str:
            if count("pay") == 1:
                await asyncio.sleep(60)
            return f"paid {amount}"

        async def check(arguments: Any, context: ToolContext) -> Any:
            asked.append((arguments, context.idempotency_key))
            if isinstance(said, BaseException):
                raise said
            return said

        tooled = tool(effect="once", check=check)(pay)

        @house.function
        async def work(ctx: Any) -> Any:
            if kind == "step":
                return await ctx.step("pay", pay, 3, effect="once", check=check)
            if kind == "call":
                return await ctx.call(tooled, {"amount": 3})
            agent = AgentRun(
                ctx, name="a", instructions="", model=BoundModel(ScriptedModel(["-"]), "m"), tools=[tooled], max_steps=1
            )
            [result] = await agent.act([ToolCall("c1", "pay", {"amount": 3})])
            return result.content

    return make


async def after_a_crash(house: Any, count: Any) -> Any:
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    house.worker()
    return await house.settled(task)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_check_that_finds_the_call_answers_for_it(
    house: Any, count: Any, paying: Any, asked: Any, kind: str
) -> None:
    paying(kind, Happened("paid, says the bank"))

    task = await after_a_crash(house, count)

    assert task.result == "paid, says the bank"
    assert count["pay"] == 1
    key = "act/0" if kind == "act" else "pay"
    assert asked == [([3] if kind == "step" else {"amount": 3}, f"{task.id}/{key}")]
    [event] = await house.events(task, "task.resolved")
    assert (event.data["key"], event.data["outcome"], event.data["by"]) == (key, "happened", "check")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [DidNotHappen(), DidNotHappen])
async def test_a_check_that_finds_nothing_lets_the_call_begin(
    house: Any, count: Any, paying: Any, kind: str, said: Any
) -> None:
    paying(kind, said)

    task = await after_a_crash(house, count)

    assert task.result == "paid 3"
    assert count["pay"] == 2
    assert [event.data["outcome"] for event in await house.events(task, "task.resolved")] == ["not-happened"]


@pytest.mark.parametrize(
    ("said", "note"),
    [
        (None, "Its check cannot tell."),
        ("yes", "Its check returned str."),
        (Happened(object()), "Its check failed: PydanticSerializationError"),
        (ValueError("the bank is closed"), "Its check failed: ValueError: the bank is closed"),
        (SystemExit(3), "Its check failed: SystemExit: 3"),
    ],
)
async def test_a_check_that_cannot_tell_leaves_it_to_a_human(
    house: Any, count: Any, paying: Any, said: Any, note: str
) -> None:
    paying("call", said)

    task = await after_a_crash(house, count)

    assert task.state is TaskState.IN_DOUBT
    [doubt] = task.error["doubts"]
    assert doubt["note"].startswith(note)
    assert count["pay"] == 1


async def test_what_a_check_found_is_not_asked_again(house: Any, count: Any, asked: list[Any]) -> None:
    async def pay() -> None:
        if count("pay") == 1:
            await asyncio.sleep(60)

    def check(arguments: Any, context: ToolContext) -> Happened:
        asked.append(arguments)
        return Happened("paid")

    @house.function
    async def work(ctx: Any) -> Any:
        paid = await ctx.step("pay", pay, effect="once", check=check)
        await ctx.sleep(1.1)  # parks, and is run again from the top
        return paid

    task = await after_a_crash(house, count)

    assert (task.result, asked, count["pay"]) == ("paid", [[]], 1)


def test_a_check_goes_with_effects_that_happen_once() -> None:
    def check(arguments: Any, context: ToolContext) -> None:
        return None

    with pytest.raises(ConfigError, match="The tool 'look' has a check and the effect 'read'"):

        @tool(effect="read", check=check)
        def look() -> str:
            return ""


# -- several at once ---------------------------------------------------------------------------------------------------


@pytest.fixture
def branches(house: Any, count: Any) -> Any:
    """function/work pays two people at once, and neither payment comes back before the crash."""

    async def pay(whom: str) -> str:
        if count(whom) == 1:
            count("pay")
            await asyncio.sleep(60)
        return f"paid {whom}"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(*(ctx.step("pay", pay, whom, effect="once") for whom in ("ann", "bob")))

    async def crash() -> Any:
        worker = house.worker()
        task = await house.submit("work")
        await house.until(lambda: count["pay"] == 2)
        await house.kill(worker)
        house.worker()
        return await house.settled(task)

    return crash


async def test_all_doubts_of_a_task_are_listed_with_what_a_human_needs(house: Any, branches: Any) -> None:
    """Named guard: a doubt beside another is not hidden by it."""
    task = await branches()

    assert task.state is TaskState.IN_DOUBT
    assert [(doubt["key"], doubt["arguments"]) for doubt in task.error["doubts"]] == [
        ("gather/0/pay", ["ann"]),
        ("gather/1/pay", ["bob"]),
    ]
    for doubt in task.error["doubts"]:
        assert doubt["since"] is not None
        assert doubt["idempotency_key"] == f"{task.id}/{doubt['key']}"


async def test_each_is_decided_by_its_key_and_the_task_goes_on_after_the_last(
    house: Any, count: Any, branches: Any
) -> None:
    task = await branches()

    with pytest.raises(InvalidInput, match=r"has 2 steps in doubt\. Say which one: 'gather/0/pay', 'gather/1/pay'"):
        await house.engine.resolve(task.id, "again")
    with pytest.raises(InvalidInput, match=r"The step 'pay' of task .* is not in doubt"):
        await house.engine.resolve(task.id, "again", key="pay")
    left = await house.engine.resolve(task.id, "happened", "paid by hand", key="gather/1/pay", by="carol")
    assert left.state is TaskState.IN_DOUBT
    assert [doubt["key"] for doubt in left.error["doubts"]] == ["gather/0/pay"]
    with pytest.raises(InvalidInput, match="is not in doubt"):
        await house.engine.resolve(task.id, "happened", "twice", key="gather/1/pay")
    await house.engine.resolve(task.id, "not-happened", by="carol")
    ended = await house.settled(task)

    assert ended.result == ["paid ann", "paid by hand"]
    assert (count["ann"], count["bob"]) == (2, 1)
    decided = [(event.data["outcome"], event.data["by"]) for event in await house.events(task, "task.resolved")]
    assert decided == [("happened", "carol"), ("not-happened", "carol")]


async def test_two_people_who_decide_at_once_decide_once(house: Any, count: Any, branches: Any) -> None:
    task = await branches()

    answers = await asyncio.gather(
        *(house.engine.resolve(task.id, "happened", who, key="gather/0/pay", by=who) for who in ("x", "y")),
        return_exceptions=True,
    )

    assert sorted(type(answer).__name__ for answer in answers) == ["InvalidInput", "Task"]
    assert len(await house.events(task, "task.resolved")) == 1


async def test_a_result_goes_with_happened_alone(house: Any, branches: Any) -> None:
    task = await branches()

    with pytest.raises(InvalidInput, match="A result does not go with 'again'"):
        await house.engine.resolve(task.id, "again", "paid", key="gather/0/pay")
    await house.engine.cancel(task.id)
    await house.reaches(task, TaskState.CANCELLED)
    with pytest.raises(InvalidTransition, match="is cancelled; there is nothing to resolve"):
        await house.engine.resolve(task.id, "again", key="gather/0/pay")


async def test_a_check_is_not_asked_about_the_doubt_of_another_branch(house: Any, count: Any, asked: list[Any]) -> None:
    async def pay() -> None:
        if count("pay") == 1:
            await asyncio.sleep(60)

    async def ship() -> None:
        count("ship")

    def check(arguments: Any, context: ToolContext) -> Happened:
        asked.append(arguments)
        return Happened("shipped")

    @house.function
    async def work(ctx: Any) -> Any:
        async def later() -> Any:
            await asyncio.sleep(0)
            if not lives:
                lives.append(1)
                await asyncio.sleep(60)
            return await ctx.step("ship", ship, effect="once", check=check)

        return await ctx.gather(ctx.step("pay", pay, effect="once"), later())

    lives: list[int] = []
    task = await after_a_crash(house, count)

    assert [doubt["key"] for doubt in task.error["doubts"]] == ["gather/0/pay"]
    assert (asked, count["ship"]) == ([], 0)
