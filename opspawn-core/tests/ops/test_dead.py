"""The dead: failed, out of attempts, and not followed by anything; and the ways to bring them back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import TaskState
from opspawn.contracts.transport import DeadQuery
from opspawn.errors import IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound, ToolError
from opspawn.ops.engine.deciding import MAX_GENERATIONS
from opspawn.ops.retry_plans import Plan


@pytest.fixture
def broken(house: Any, count: Any) -> Any:
    """function/work fails with the type of its input until the world is mended; then it says how often it acted."""
    world = {"mended": False}

    @house.function
    async def work(ctx: Any) -> Any:
        acted = await ctx.step("act", lambda: count("act"))
        if not world["mended"]:
            raise ToolError("broken", error_type=ctx.input or "tool_error")
        return acted

    @house.function
    async def backup(ctx: Any) -> Any:
        if ctx.input["input"] == "hopeless":
            raise ToolError("hopeless")
        return ctx.input["error"]["message"]

    house.world = world
    return house


async def dead(house: Any, **asked: Any) -> list[str]:
    return [task.id for task in (await house.engine.dead(DeadQuery(**asked))).items]


async def test_what_failed_for_good_is_dead_until_it_is_retried(broken: Any) -> None:
    """Named guard: a task that was retried is dead no more."""
    task = await broken.run("work")
    before = await dead(broken)
    broken.world["mended"] = True
    again = await broken.engine.retry(task.id)
    meanwhile = await dead(broken)
    await broken.settled(again)

    assert before == [task.id]
    assert meanwhile == []
    assert await dead(broken) == []


async def test_a_retry_that_fails_again_stands_for_its_task(broken: Any) -> None:
    task = await broken.run("work")
    again = await broken.settled(await broken.engine.retry(task.id))

    assert again.state is TaskState.FAILED
    assert await dead(broken) == [again.id]


async def test_what_succeeded_was_cancelled_or_belongs_to_another_is_not_dead(broken: Any) -> None:
    @broken.function
    async def parent(ctx: Any) -> Any:
        try:
            await ctx.spawn("function/work")
        except Exception:
            return "handled"

    assert (await broken.run("parent")).state is TaskState.SUCCEEDED
    waiting = await broken.submit("work", delay_s=60.0)
    await broken.engine.cancel(waiting.id)

    assert await dead(broken) == []


async def test_the_dead_are_found_by_handler_error_and_time(broken: Any) -> None:
    slow = await broken.run("work", "timeout")
    denied = await broken.run("work", "denied")

    assert await dead(broken, handler="function/work") == [denied.id, slow.id]
    assert await dead(broken, handler="function/other") == []
    assert await dead(broken, error_type="timeout") == [slow.id]
    assert await dead(broken, ended_after=denied.ended) == [denied.id]
    assert await dead(broken, ended_before=denied.ended) == [slow.id]
    assert await dead(broken, ended_after=denied.ended + timedelta(seconds=1)) == []
    first = await broken.engine.dead(DeadQuery(limit=1))
    second = await broken.engine.dead(DeadQuery(limit=1, cursor=first.cursor))
    assert [task.id for task in (*first.items, *second.items)] == [denied.id, slow.id]


async def test_many_are_retried_at_once_within_a_limit(broken: Any) -> None:
    broken.worker()
    tasks = await asyncio.gather(*(broken.submit("work", "timeout" if n % 2 else "denied") for n in range(10)))
    await asyncio.gather(*(broken.settled(task) for task in tasks))
    broken.world["mended"] = True

    some, more = await broken.engine.retry_all(DeadQuery(error_type="timeout"), limit=3)
    rest, none = await broken.engine.retry_all(DeadQuery(error_type="timeout"), limit=3)
    ended = await asyncio.gather(*(broken.settled(task) for task in (*some, *rest)))

    assert (len(some), more, len(rest), none) == (3, True, 2, False)
    assert {task.state for task in ended} == {TaskState.SUCCEEDED}
    assert len(await dead(broken)) == 5
    assert (await broken.engine.retry_all(DeadQuery(error_type="timeout"), limit=3))[0] == []
    for limit in (0, 1001):
        with pytest.raises(InvalidInput, match=rf"The limit is {limit}\. Give one from 1 to 1000"):
            await broken.engine.retry_all(DeadQuery(), everything=True, limit=limit)


async def test_all_of_the_dead_are_retried_only_if_that_is_said(broken: Any) -> None:
    """A query that lost its filters on the way must not bring back a hundred tasks."""
    task = await broken.run("work", "denied")

    with pytest.raises(InvalidInput, match="No filter says which of the dead are to be retried"):
        await broken.engine.retry_all(DeadQuery(limit=1))
    untouched = await dead(broken)
    [fresh], more = await broken.engine.retry_all(DeadQuery(), everything=True)
    await broken.settled(fresh)

    assert (untouched, fresh.retry_of, more) == ([task.id], task.id, False)


@pytest.mark.parametrize("named", ["handler", "agent", "queue"])
async def test_a_retry_of_many_says_what_of_its_filters_there_is_not(broken: Any, named: str) -> None:
    """And not that nothing was to be done, which a misspelt name would hide behind."""
    await broken.run("work", "denied")

    with pytest.raises(NotFound, match=f"There is no {named} 'nope'"):
        await broken.engine.retry_all(DeadQuery(**{named: "nope"}))
    known = {"handler": "function/work", "queue": "default"}.get(named)
    if known is not None:
        query = DeadQuery(error_type="timeout", **{named: known})
        assert await broken.engine.retry_all(query) == ([], False)


async def test_a_retry_from_scratch_runs_every_step_again_under_new_keys(broken: Any, count: Any) -> None:
    kept = await broken.run("work")
    fresh = await broken.run("work")
    broken.world["mended"] = True

    first = await broken.settled(await broken.engine.retry(kept.id))
    second = await broken.settled(await broken.engine.retry(fresh.id, from_scratch=True))

    assert (first.result, second.result) == (1, 3)
    assert second.retry_of == fresh.id


async def test_what_comes_after_one_from_scratch_keeps_what_that_one_did(broken: Any, count: Any) -> None:
    task = await broken.run("work")
    again = await broken.settled(await broken.engine.retry(task.id, from_scratch=True))
    broken.world["mended"] = True
    third = await broken.settled(await broken.engine.retry(again.id))

    assert (third.result, count["act"]) == (2, 2)


async def test_a_retry_may_set_how_often_the_task_is_tried_by_itself(broken: Any) -> None:
    policy = RetryPolicy(attempts=1, initial_s=0.0, jitter=False)
    task = await broken.run("work", retry=policy)

    again = await broken.settled(await broken.engine.retry(task.id, 2))

    assert (task.attempt, again.attempt) == (1, 3)
    for wrong in (-1, 1000, True, 1.5):
        with pytest.raises(InvalidInput, match="retry_count is"):
            await broken.engine.retry(again.id, wrong)


async def test_two_ways_of_retrying_at_once_are_told_apart(broken: Any) -> None:
    worker = broken.worker()
    task = await broken.settled(await broken.submit("work"))
    await broken.stop(worker)
    again = await broken.engine.retry(task.id)

    assert (await broken.engine.retry(task.id)).id == again.id
    with pytest.raises(InvalidTransition, match="is being retried already, keeping what succeeded, as"):
        await broken.engine.retry(task.id, from_scratch=True)


async def test_the_same_key_gives_the_same_retry_even_if_that_has_failed_meanwhile(broken: Any) -> None:
    """Named guard: the idempotency key of a retry."""
    task = await broken.run("work")
    answers = await asyncio.gather(*(broken.engine.retry(task.id, idempotency_key="k") for _ in range(5)))
    await broken.settled(answers[0])
    late = await broken.engine.retry(task.id, idempotency_key="k")

    assert {answer.id for answer in answers} == {late.id}
    assert await dead(broken) == [late.id]
    with pytest.raises(IdempotencyMismatch):
        await broken.engine.retry(task.id, from_scratch=True, idempotency_key="k")
    assert (await broken.engine.retry(task.id)).id != late.id  # without a key: the one after it


async def test_one_key_makes_one_task_however_many_ask_at_once(broken: Any) -> None:
    """I13; named guard: the idempotency key of a submit."""
    answers = await asyncio.gather(*(broken.submit("work", idempotency_key="k") for _ in range(20)))

    assert len({answer.id for answer in answers}) == 1
    with pytest.raises(IdempotencyMismatch):
        await broken.submit("work", fallback="function/backup", idempotency_key="k")


async def test_generations_end_somewhere(broken: Any) -> None:
    task = await broken.run("work")
    last = await broken.engine.retry(task.id)
    last = await broken.settled(last)
    assert last.retry["generation"] == 1
    broken.engine._check_retry(last)

    from dataclasses import replace

    with pytest.raises(InvalidTransition, match=r"is generation 100; there are no more\. Submit it as a new task"):
        broken.engine._check_retry(replace(last, retry=Plan(generation=MAX_GENERATIONS).to_json()))


# -- a fallback, by hand -----------------------------------------------------------------------------------------------


async def test_another_handler_can_be_asked_about_a_dead_task(broken: Any) -> None:
    task = await broken.run("work")
    asked = [await broken.engine.fallback_task(task.id, "function/backup") for _ in range(2)]
    ended = await broken.settled(asked[0])

    assert asked[0].id == asked[1].id
    assert ended.result == "broken"
    assert (ended.session, ended.parent, ended.retry_of) == (task.session, None, None)
    assert await dead(broken) == []
    [accepted] = await broken.events(ended, "task.accepted")
    assert accepted.data["fallback_of"] == task.id


async def test_a_fallback_that_failed_leaves_both_dead(broken: Any) -> None:
    task = await broken.run("work", "hopeless")
    asked = await broken.settled(await broken.engine.fallback_task(task.id, "function/backup"))

    assert asked.state is TaskState.FAILED
    assert await dead(broken) == [asked.id, task.id]


async def test_who_asks_about_what_is_not_dead_or_names_nobody_is_refused(broken: Any) -> None:
    task = await broken.run("work")
    fine = await broken.run("backup", {"input": 1, "error": {"message": "x"}})

    with pytest.raises(InvalidInput, match="names no fallback"):
        await broken.engine.fallback_task(task.id)
    with pytest.raises(NotFound):
        await broken.engine.fallback_task(task.id, "function/nobody")
    with pytest.raises(InvalidTransition, match="only a failed task has a fallback"):
        await broken.engine.fallback_task(fine.id, "function/backup")
    await broken.engine.fallback_task(task.id, "function/backup")
    with pytest.raises(InvalidTransition, match="function/backup was asked about task"):
        await broken.engine.fallback_task(task.id, "function/work")
