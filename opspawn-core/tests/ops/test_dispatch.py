"""Enqueueing does not wait, dispatching does; labels, keys and priority go along."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.store import Query, TaskState
from opspawn.errors import IdempotencyMismatch, NotFound, ToolError


async def test_enqueue_answers_at_once_and_dispatch_with_the_result(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return ctx.input + 1

    queued = await house.engine.enqueue("function/work", 1)
    house.worker()
    done = await house.engine.dispatch("function/work", 2, labels={"team": "red"})

    assert (queued.state, done.state, done.result) == (TaskState.QUEUED, TaskState.SUCCEEDED, 3)


async def test_dispatch_answers_with_a_failure_as_with_a_result(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        raise ToolError("broke")

    house.worker()

    assert (await house.engine.dispatch("function/work")).error["message"] == "broke"


async def test_dispatch_waits_no_longer_than_told_and_the_task_goes_on(house: Any) -> None:
    go = asyncio.Event()

    @house.function
    async def work(ctx: Any) -> str:
        await go.wait()
        return "done"

    house.worker()
    task = await house.engine.dispatch("function/work", wait_s=0.1, idempotency_key="k")
    go.set()
    again = await house.engine.dispatch("function/work", idempotency_key="k")

    assert task.state is TaskState.RUNNING
    assert (again.id, again.result) == (task.id, "done")


async def test_the_same_key_with_other_options_is_refused(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    await house.submit("work", idempotency_key="k", deadline_s=60)

    for other in ({}, {"deadline_s": 61}, {"deadline_s": 60, "strict": True}, {"deadline_s": 60, "idle_timeout_s": 1}):
        with pytest.raises(IdempotencyMismatch):
            await house.submit("work", idempotency_key="k", **other)


async def test_tasks_are_found_by_their_labels(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    red = await house.submit("work", labels={"team": "red", "tier": "1"})
    await house.submit("work", labels={"team": "blue", "tier": "1"})

    found = await house.engine.tasks(Query(labels={"team": "red", "tier": "1"}))
    assert [task.id for task in found.items] == [red.id]


async def test_priority_is_a_head_start_and_strict_priority_an_order(house: Any) -> None:
    order: list[str] = []

    @house.function
    async def work(ctx: Any) -> None:
        order.append(ctx.input)

    for name, options in {
        "plain": {},
        "ahead": {"priority": 1},
        "strict, low": {"priority": 1, "strict": True},
        "strict, high": {"priority": 2, "strict": True},
    }.items():
        await house.submit("work", name, **options)
    house.worker(slots=1)
    await house.until(lambda: len(order) == 4)

    assert order == ["strict, high", "strict, low", "ahead", "plain"]


async def test_an_unknown_option_or_handler_is_refused(house: Any) -> None:
    with pytest.raises(NotFound):
        await house.engine.dispatch("function/none")
    with pytest.raises(TypeError, match="prioriti"):
        await house.engine.dispatch("function/none", prioriti=1)
