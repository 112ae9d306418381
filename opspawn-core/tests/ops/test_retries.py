"""Failures: tried again at the step, then at the task, and never twice for nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn import tool
from opspawn.agentkit.agent_run import AgentRun
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.recorded import Tries
from opspawn.agentkit.retries import counted
from opspawn.contracts.model import Message
from opspawn.contracts.run import MAX_POSTPONEMENTS, RetryPolicy
from opspawn.contracts.store import TaskState
from opspawn.errors import InvalidTransition, ModelError, StepError, ToolError
from opspawn.testing import ScriptedModel

AT_ONCE = RetryPolicy(attempts=3, initial_s=0.0, jitter=False)
SLOWLY = RetryPolicy(attempts=3, initial_s=30.0, jitter=False)


async def think(ctx: Any, script: Any) -> str:
    """One model call of an agent in this run."""
    agent = AgentRun(
        ctx, name="a", instructions="", model=BoundModel(ScriptedModel(script), "m"), tools=[], max_steps=9
    )
    return (await agent.think([Message("user", "Hello?")])).text


async def test_a_step_is_tried_again_as_its_policy_says_and_then_fails(house: Any, count: Any) -> None:
    @tool(effect="read")
    async def look() -> str:
        raise ToolError(f"no answer {count('look')}")

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(look, {}, retry=AT_ONCE)

    task = await house.run("work")

    assert task.error["message"] == "no answer 3"
    assert task.error["key"] == "look"
    assert await house.types(task) == [
        "task.accepted", "task.claimed", "step.retry", "step.retry", "step.failed", "task.failed",
    ]  # fmt: skip


async def test_a_failure_that_the_policy_does_not_name_is_final(house: Any, count: Any) -> None:
    @tool(effect="read")
    async def look() -> str:
        count("look")
        raise ValueError("a bug")

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(look, {}, retry=AT_ONCE)

    assert (await house.run("work")).state is TaskState.FAILED
    assert count["look"] == 1


async def test_a_long_backoff_parks_and_a_crash_does_not_reset_the_count(house: Any, count: Any) -> None:
    @tool(effect="read")
    async def look() -> str:
        if count("look") == 2:
            await asyncio.sleep(60)
        raise ToolError("no answer")

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(look, {}, retry=RetryPolicy(attempts=3, initial_s=1.2, factor=0.0, jitter=False))

    worker = house.worker()
    task = await house.submit("work")
    waiting = await house.reaches(task, TaskState.WAITING)
    slots_while_waiting = worker.running
    await house.until(lambda: count["look"] == 2)
    await house.kill(worker)
    house.worker()
    ended = await house.settled(task)

    assert waiting.due is not None
    assert slots_while_waiting == 0
    assert ended.state is TaskState.FAILED
    assert count["look"] == 4  # three tries, and the one that the crash cut off
    assert [event.data["try"] for event in await house.events(task, "step.retry")] == [1, 2]


async def test_a_once_effect_whose_try_failed_for_certain_is_not_in_doubt_after_a_crash(house: Any, count: Any) -> None:
    @tool(effect="once")
    async def pay() -> str:
        if count("pay") == 1:
            raise ToolError("the bank said no")
        return "paid"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(pay, {}, retry=RetryPolicy(attempts=2, initial_s=0.9, jitter=False))

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.until(lambda: _has(house, task, "step.retry"))
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).result == "paid"
    assert count["pay"] == 2


async def test_a_once_effect_that_ran_out_of_time_is_never_tried_again(house: Any, count: Any) -> None:
    @tool(effect="once", timeout_s=0.05)
    async def pay() -> None:
        count("pay")
        await asyncio.sleep(5)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(pay, {}, retry=RetryPolicy(attempts=3, initial_s=0.0))

    task = await house.run("work")

    assert task.error["type"] == "timeout"
    assert count["pay"] == 1


async def test_come_back_later_costs_no_try(house: Any) -> None:
    later = ModelError("slow down", error_type="rate_limited", retry_after_s=0.001)
    broken = ModelError("gone", error_type="transient")
    script = [later] * 5 + [broken, "Hello."]

    @house.function
    async def work(ctx: Any) -> Any:
        return await think(ctx, script)

    task = await house.run("work")

    assert task.result == "Hello."
    assert task.attempt == 0
    assert [event.data["try"] for event in await house.events(task, "step.retry")] == [0, 0, 0, 0, 0, 1]


async def test_come_back_much_later_frees_the_slot_until_then(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await think(ctx, [ModelError("slow down", error_type="rate_limited", retry_after_s=3600.0)])

    worker = house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)

    assert worker.running == 0
    assert task.attempt == 0
    assert 3590 < (task.due - task.updated).total_seconds() <= 1.1 * 3600  # no crowd comes back at once


async def test_a_provider_that_never_lets_one_in_has_refused(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await think(ctx, [ModelError("slow down", error_type="rate_limited", retry_after_s=0.001)] * 200)

    task = await house.run("work")

    assert task.error["type"] == "rate_limited"
    assert len(await house.events(task, "step.retry")) == MAX_POSTPONEMENTS


@pytest.mark.parametrize("said", [0, 0.0, -1, float("nan"), "soon"])
def test_a_service_that_says_no_time_of_use_is_asked_less_and_less_often(said: Any) -> None:
    error = ModelError("slow down", error_type="rate_limited", retry_after_s=said)
    policy, tries, waits = RetryPolicy(jitter=False, when=("rate_limited",)), Tries(), []
    for _ in range(10):
        now = tries.until
        tries = counted(error, "read", policy, tries, now)
        waits.append(tries.until - now)

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_a_new_attempt_repeats_only_the_step_whose_failure_ended_the_last_one(house: Any, count: Any) -> None:
    async def act(name: str, fails: int) -> str:
        if count(name) <= fails:
            raise ToolError(f"{name} broke")
        return name

    @house.function
    async def work(ctx: Any) -> Any:
        done = [await ctx.step("a", act, "a", 0)]
        try:
            await ctx.step("b", act, "b", 1)
        except StepError:
            done.append("b was handled")
        return [*done, await ctx.step("c", act, "c", 2)]

    task = await house.run("work", retry=AT_ONCE)

    assert task.result == ["a", "b was handled", "c"]
    assert task.attempt == 2
    assert (count["a"], count["b"], count["c"]) == (1, 1, 3)
    assert [event.data["key"] for event in await house.events(task, "task.retry")] == ["c", "c"]


async def test_the_failed_step_is_found_under_the_error_that_the_code_made_of_it(house: Any, count: Any) -> None:
    async def act() -> str:
        if count("act") == 1:
            raise ToolError("broke")
        return "done"

    class Wrapped(ToolError):
        """Somebody's own."""

    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.step("act", act)
        except ToolError as error:
            raise Wrapped("the work cannot be done") from error

    task = await house.run("work", retry=AT_ONCE)

    assert task.result == "done"
    assert count["act"] == 2


async def test_failures_under_a_task_group_are_found_too(house: Any, count: Any) -> None:
    async def act() -> str:
        if count("act") == 1:
            raise ToolError("broke")
        return "done"

    @house.function
    async def work(ctx: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            one = group.create_task(ctx.step("act", act))
        return one.result()

    policy = RetryPolicy(attempts=2, initial_s=0.0, jitter=False, when=("error",))

    assert (await house.run("work", retry=policy)).result == "done"


async def test_a_task_that_waits_for_its_next_attempt_holds_no_slot_and_can_be_cancelled(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        raise ToolError("broke")

    worker = house.worker()
    task = await house.submit("work", retry=SLOWLY)
    waiting = await house.reaches(task, TaskState.WAITING)
    await house.until(lambda: worker.running == 0)
    await house.engine.cancel(task.id)
    ended = await house.settled(task)

    assert (waiting.attempt, waiting.error["message"]) == (1, "broke")
    assert ended.state is TaskState.CANCELLED


async def test_a_child_that_fails_meanwhile_does_not_cut_the_wait_short(house: Any) -> None:
    go = asyncio.Event()

    async def bad() -> None:
        raise ToolError("broke")

    @house.function
    async def parent(ctx: Any) -> None:
        await ctx.gather(ctx.spawn("function/child"), ctx.step("bad", bad))

    @house.function
    async def child(ctx: Any) -> None:
        await go.wait()
        raise ToolError("broke, too")

    house.worker()
    task = await house.reaches(await house.submit("parent", retry=SLOWLY), TaskState.WAITING)
    go.set()
    [child_task] = await house.children(task)
    await house.settled(child_task)
    await house.run("child")  # a worker has had every chance to look

    await house.reaches(task, TaskState.WAITING)
    begun = [type for type in await house.types(task) if type.startswith("step.")]
    assert begun == ["step.failed"]  # it was called, since a failure may end a wait, and waits on


async def test_a_task_out_of_attempts_fails_with_its_last_error(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        raise ToolError("broke")

    task = await house.run("work", retry=AT_ONCE)

    assert (task.state, task.attempt, task.error["message"]) == (TaskState.FAILED, 3, "broke")
    assert [event.data["attempt"] for event in await house.events(task, "task.retry", "task.failed")] == [1, 2, 3]


async def test_a_task_out_of_time_fails_wherever_it_is(house: Any, count: Any) -> None:
    """The time counts from the start of the attempt, over parking."""

    @house.function
    async def runs(ctx: Any) -> None:
        await asyncio.sleep(60)

    @house.function
    async def waits(ctx: Any) -> None:
        count("waits")
        await ctx.spawn("function/runs")

    house.worker()
    running = await house.submit("runs", timeout_s=0.3)
    waiting = await house.submit("waits", timeout_s=0.3)
    ended = [await house.settled(running), await house.settled(waiting)]

    assert [task.error["type"] for task in ended] == ["timeout", "timeout"]
    assert ended[1].error["message"] == "The task did not end within 0.3 s."
    [child] = await house.children(waiting)
    assert (await house.settled(child)).state is TaskState.CANCELLED


async def test_each_attempt_has_its_own_time(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        if count("work") == 1:
            await asyncio.sleep(60)
        await ctx.sleep(0.2)
        return "done"

    assert (await house.run("work", timeout_s=0.4, retry=AT_ONCE)).result == "done"


async def test_a_tool_that_ends_the_process_only_fails_itself(house: Any) -> None:
    @tool(effect="read")
    async def leave() -> None:
        raise SystemExit(3)

    @house.function
    async def calls(ctx: Any) -> None:
        await ctx.call(leave, {})

    assert (await house.run("calls")).state is TaskState.FAILED


@pytest.mark.parametrize(
    ("end", "words"),
    [(SystemExit(3), "called sys.exit(3)."), (KeyboardInterrupt(), "raised KeyboardInterrupt.")],
)
async def test_code_that_ends_the_process_only_fails_itself(house: Any, end: BaseException, words: str) -> None:
    async def leave() -> None:
        raise end

    @house.function
    async def leaves(ctx: Any) -> None:
        await leave()

    @house.function
    async def forks(ctx: Any) -> None:
        await ctx.gather(leave(), ctx.step("other", lambda: 1))

    assert (await house.run("leaves")).error["message"] == f"function/leaves {words}"
    assert (await house.run("forks")).error["message"].endswith(f"A branch of gather {words}")


async def test_an_error_that_cannot_say_what_it_is_fails_the_task_by_its_name(house: Any) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @house.function
    async def work(ctx: Any) -> None:
        raise Mute

    assert (await house.run("work")).error["message"] == "Mute"


async def test_code_that_cancels_itself_fails_and_does_not_run_forever(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        count("work")
        raise asyncio.CancelledError

    task = await house.run("work")

    assert (task.state, task.error["message"]) == (TaskState.FAILED, "The code of function/work cancelled itself.")
    assert count["work"] == 1


# -- a new generation --------------------------------------------------------------------------------------------------


async def test_a_retried_task_is_a_new_one_that_keeps_what_succeeded(house: Any, count: Any) -> None:
    async def act(name: str) -> str:
        if count(name) == 1 and name == "b":
            raise ToolError("broke")
        return f"{name}{count[name]}"

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("a", act, "a"), await ctx.step("b", act, "b"), (await ctx.now()).isoformat()]

    failed = await house.run("work", {"n": 1}, labels={"team": "red"}, priority=2)
    again = await house.settled(await house.engine.retry(failed.id))

    assert failed.state is TaskState.FAILED
    assert again.id != failed.id
    assert again.result[:2] == ["a1", "b2"]
    assert (again.retry_of, again.attempt, again.input) == (failed.id, 0, {"n": 1})
    assert (again.labels, again.priority, again.session) == ({"team": "red"}, 2, failed.session)


async def test_a_third_generation_keeps_what_the_first_and_the_second_did(house: Any, count: Any) -> None:
    async def act(name: str, fails: int) -> str:
        if count(name) <= fails:
            raise ToolError(f"{name} broke")
        return name

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step(name, act, name, fails) for name, fails in (("a", 0), ("b", 1), ("c", 1))]

    task = await house.run("work")
    for _ in range(2):
        task = await house.settled(await house.engine.retry(task.id))

    assert task.result == ["a", "b", "c"]
    assert (count["a"], count["b"], count["c"]) == (1, 2, 2)


async def test_the_idempotency_key_of_a_call_stays_the_same_over_tries_attempts_lives_and_generations(
    house: Any,
) -> None:
    keys: list[str] = []

    from opspawn.contracts.tool import ToolContext

    @tool(effect="idempotent")
    async def book(context: ToolContext) -> str:
        keys.append(context.idempotency_key)
        if len(keys) == 3:
            await asyncio.sleep(60)
        if len(keys) < 10:
            raise ToolError("no seat")
        return "booked"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.call(book, {}, retry=RetryPolicy(attempts=2, initial_s=0.0))

    worker = house.worker()
    task = await house.submit("work", retry=RetryPolicy(attempts=2, initial_s=0.0))
    await house.until(lambda: len(keys) == 3)
    await house.kill(worker)
    house.worker()
    failed = await house.settled(task)
    again = await house.settled(await house.engine.retry(task.id))
    third = await house.settled(await house.engine.retry(again.id))

    assert failed.state is again.state is TaskState.FAILED
    assert third.result == "booked"
    assert len(keys) == 10
    assert set(keys) == {f"{task.id}/book"}


async def test_a_retry_whose_answer_was_lost_may_be_sent_again(house: Any) -> None:
    going = asyncio.Event()
    going.set()

    @house.function
    async def work(ctx: Any) -> None:
        await going.wait()
        raise ToolError("broke")

    failed = await house.run("work")
    going.clear()  # one that has failed again by then would rightly get a generation of its own
    again = await asyncio.gather(*(house.engine.retry(failed.id) for _ in range(5)))

    assert len({task.id for task in again}) == 1
    going.set()
    await house.settled(again[0])
    later = await house.engine.retry(failed.id)
    assert later.retry_of == again[0].id


async def test_what_runs_or_succeeded_cannot_be_retried(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        return None

    task = await house.run("work")
    with pytest.raises(InvalidTransition, match="has succeeded; only a failed, cancelled or paused"):
        await house.engine.retry(task.id)


async def _has(house: Any, task: Any, type: str) -> bool:
    return type in await house.types(task)


def test_a_backoff_grows_to_its_cap_and_never_overflows() -> None:
    from opspawn.agentkit.log import backoff_s

    policy = RetryPolicy(attempts=10_000, initial_s=1.0, max_s=60.0, jitter=False)

    assert [backoff_s(policy, tries) for tries in (1, 2, 3, 7, 5000)] == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert 0.0 <= backoff_s(RetryPolicy(initial_s=1.0), 1) <= 1.0
