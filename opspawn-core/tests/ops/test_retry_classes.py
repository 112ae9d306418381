"""Retries by class of error, at steps and at tasks; and services that say when to come back."""

from __future__ import annotations

from typing import Any

import pytest

from opspawn import tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.contracts.model import ToolCall
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import TaskState
from opspawn.errors import InvalidInput, ModelError, StepFailed, ToolError
from opspawn.testing import ScriptedModel


def times(attempts: int, **more: Any) -> RetryPolicy:
    return RetryPolicy(attempts=attempts, initial_s=0.0, jitter=False, **more)


def busy(retry_after_s: float = 0.0) -> ToolError:
    return ToolError("come back later", error_type="rate_limited", retry_after_s=retry_after_s)


async def test_a_step_is_tried_again_across_a_crash_as_its_policy_says(house: Any, count: Any) -> None:
    async def fetch() -> str:
        if count("fetch") < 3:
            raise ConnectionResetError("the line is dead")
        return "fetched"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("fetch", fetch, retry=RetryPolicy(attempts=3, initial_s=1.2, factor=0.0, jitter=False))

    worker = house.worker()
    task = await house.submit("work")
    await house.reaches(task, TaskState.WAITING)
    await house.kill(worker)
    house.worker()
    ended = await house.settled(task)

    assert ended.result == "fetched"
    assert count["fetch"] == 3
    errors = [event.data["error"]["type"] for event in await house.events(task, "step.retry")]
    assert errors == ["transient", "transient"]


@pytest.mark.parametrize(("kind", "tries"), [("transient", 3), ("invalid_output", 2), ("denied", 1)])
async def test_each_class_of_error_has_a_policy_of_its_own(house: Any, count: Any, kind: str, tries: int) -> None:
    async def act() -> None:
        count("act")
        raise ToolError("no", error_type=kind)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act, retry={"transient": times(3), "invalid_output": times(2)})

    task = await house.run("work")

    assert task.error["type"] == kind
    assert count["act"] == tries


@pytest.mark.parametrize(("kind", "tries"), [("timeout", 3), ("budget", 1)])
async def test_so_has_a_task(house: Any, count: Any, kind: str, tries: int) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        count("work")
        raise ToolError("no", error_type=kind)

    task = await house.run("work", retry={"timeout": times(3)})

    assert (task.state, task.attempt, count["work"]) == (TaskState.FAILED, tries, tries)


async def test_the_classes_of_a_child_are_kept_with_it(house: Any, count: Any) -> None:
    @house.function
    async def child(ctx: Any) -> Any:
        count("child")
        raise ToolError("no", error_type="denied")

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.spawn("function/child", retry={"denied": times(2)})

    await house.run("work")

    assert count["child"] == 2


async def test_a_tool_that_a_service_asks_to_wait_is_waited_for_and_the_agent_hears_nothing_of_it(
    house: Any, count: Any
) -> None:
    @tool(effect="read")
    async def look() -> str:
        if count("look") < 3:
            raise busy()
        return "seen"

    @house.function
    async def work(ctx: Any) -> Any:
        model = BoundModel(ScriptedModel(["-"]), "m")
        agent = AgentRun(ctx, name="a", instructions="", model=model, tools=[look], max_steps=1)
        [result] = await agent.act([ToolCall("c1", "look", {})])
        return result.content

    task = await house.run("work")

    assert task.result == "seen"
    assert task.attempt == 0


async def test_a_run_that_is_asked_to_wait_parks_and_that_costs_no_attempt(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        if count("work") < 4:
            raise busy()
        return "done"

    task = await house.run("work")

    assert (task.result, task.attempt, count["work"]) == ("done", 0, 4)
    assert [event.data["attempt"] for event in await house.events(task, "task.retry")] == [0, 0, 0]


@pytest.mark.parametrize("patience_s", [10.0, 0.0])
async def test_a_service_that_asks_for_more_time_than_one_has_has_refused(
    house: Any, count: Any, patience_s: float
) -> None:
    async def act() -> None:
        count("act")
        raise busy(patience_s + 1)

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.step("act", act, retry=times(5, patience_s=patience_s))

    task = await house.run("work", retry=times(5, patience_s=patience_s))

    assert (task.state, task.error["type"]) == (TaskState.FAILED, "rate_limited")
    assert count["act"] == 1


async def test_patience_is_for_all_postponements_together(house: Any, count: Any) -> None:
    async def act() -> None:
        count("act")
        raise busy(0.2)

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.step("act", act, retry=times(1, patience_s=0.7))

    task = await house.run("work")

    assert task.state is TaskState.FAILED
    assert 3 <= count["act"] <= 5


@pytest.mark.parametrize(
    ("retry", "words"),
    [
        (RetryPolicy(attempts=0), r"retry\.attempts is 0\. Give 1 to 1000"),
        (RetryPolicy(attempts=1001), r"retry\.attempts is 1001"),
        (RetryPolicy(initial_s=float("nan")), r"retry\.initial_s is nan"),
        (RetryPolicy(max_s=-1), r"retry\.max_s is -1"),
        (RetryPolicy(when="transient"), r"retry\.when is 'transient'\. Give classes of errors"),  # type: ignore[arg-type]
        ({"transient": RetryPolicy(attempts=0)}, r"retry\['transient'\]\.attempts is 0"),
        ({"transient": 3}, r"retry is \{'transient': 3\}\. Give a RetryPolicy"),
        (3, r"retry is 3\. Give a RetryPolicy"),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused(house: Any, retry: Any, words: str) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", lambda: 1, retry=retry)

    with pytest.raises(InvalidInput, match=words):
        await house.submit("work", retry=retry)
    task = await house.run("work")
    assert (task.state, task.error["type"]) == (TaskState.FAILED, "invalid_input")


async def test_the_failure_of_a_child_still_says_when_to_come_back(house: Any) -> None:
    @house.function
    async def child(ctx: Any) -> Any:
        raise ModelError("full", error_type="rate_limited", retry_after_s=99_999.0)

    @house.function
    async def work(ctx: Any) -> Any:
        try:
            await ctx.spawn("function/child")
        except StepFailed as error:
            return error.retry_after_s

    task = await house.run("work")
    assert task.result == 99_999.0, task.error
