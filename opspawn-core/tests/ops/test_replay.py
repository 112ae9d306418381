"""After a crash the code runs again from the top, and every recorded step answers from the journal."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from opspawn.contracts.store import TaskState


async def test_a_recorded_step_is_never_repeated(house: Any, count: Any) -> None:
    """Named guard: recall of recorded steps."""
    blocked = asyncio.Event()

    async def first() -> int:
        return count("first")

    async def second() -> str:
        count("second")
        await blocked.wait()
        return "done"

    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("first", first), await ctx.step("second", second)]

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["second"] == 1)
    await house.kill(worker)
    blocked.set()
    house.worker()

    ended = await house.settled(task)

    assert ended.result == [1, "done"]
    assert (count["first"], count["second"]) == (1, 2)


async def test_a_failure_that_was_handled_is_raised_again_on_replay_without_repeating_the_step(
    house: Any, count: Any
) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        try:
            await ctx.step("breaks", breaks)
        except Exception as error:
            first = f"{type(error).__name__}: {error}"
        await ctx.sleep(0.05)
        await ctx.step("hold", hold)
        return first

    async def breaks() -> None:
        count("breaks")
        raise ValueError("no such number")

    async def hold() -> None:
        if count("hold") == 1:
            await asyncio.sleep(60)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["hold"] == 1)
    await house.kill(worker)
    house.worker()

    ended = await house.settled(task)

    assert ended.result == "StepFailed: ValueError: no such number"
    assert count["breaks"] == 1


async def test_time_and_chance_are_the_same_on_every_replay(house: Any, count: Any) -> None:
    seen: list[Any] = []

    @house.function
    async def work(ctx: Any) -> Any:
        seen.append([(await ctx.now()).isoformat(), await ctx.now(), await ctx.random(), await ctx.random()])
        await ctx.spawn("function/child")
        return "done"

    @house.function
    async def child(ctx: Any) -> None:
        return None

    await house.run("work")

    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][2] != seen[0][3]


async def test_an_event_of_ones_own_is_journaled_once(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> None:
        await ctx.emit("paid", {"amount": 3})
        await ctx.spawn("function/child")
        await ctx.emit("paid", {"amount": 4})

    @house.function
    async def child(ctx: Any) -> None:
        return None

    task = await house.run("work")

    assert [event.data["amount"] for event in await house.events(task, "custom.paid")] == [3, 4]


async def test_branches_of_a_gather_may_end_in_another_order_each_time(house: Any, count: Any) -> None:
    """Each branch is a scope, so that its keys do not depend on the others."""

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(*(branch(ctx, name) for name in "abc"))

    async def branch(ctx: Any, name: str) -> Any:
        one = await ctx.step("one", answer, name)
        if name == "b":
            await ctx.step("hold", hold)
        return one, await ctx.step("two", answer, name.upper())

    async def answer(name: str) -> str:
        count(name)
        await asyncio.sleep({"a": 0.03, "b": 0.0, "c": 0.01}.get(name, 0.0))
        return name

    async def hold() -> None:
        if count("hold") == 1:
            await asyncio.sleep(60)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["hold"] == count["A"] == count["C"] == 1)
    await house.kill(worker)
    house.worker()

    ended = await house.settled(task)

    assert ended.result == [["a", "A"], ["b", "B"], ["c", "C"]]
    assert sorted(count.calls) == [*sorted("abcABC"), "hold", "hold"]


async def test_what_a_step_returns_is_the_same_now_and_after_a_replay(house: Any) -> None:
    """Tuples, sets, dates and numbers beyond JSON are converted at once, not only when they come back."""
    seen: list[Any] = []

    async def odd() -> Any:
        return {
            "pair": (1, 2),
            "when": datetime(2026, 1, 2, tzinfo=UTC),
            "big": 2**70,
            "half": "\ud800",
        }

    @house.function
    async def work(ctx: Any) -> None:
        seen.append(await ctx.step("odd", odd))
        await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> None:
        return None

    await house.run("work")

    assert seen[0] == seen[1]
    assert seen[0] == {"pair": [1, 2], "when": "2026-01-02T00:00:00Z", "big": 2**70, "half": "\ud800"}


async def test_a_result_that_is_not_json_fails_its_step_in_words(house: Any) -> None:
    async def odd() -> object:
        return object()

    @house.function
    async def work(ctx: Any) -> None:
        await ctx.step("odd", odd)

    task = await house.run("work")

    assert task.state is TaskState.FAILED
    assert task.error["type"] == "invalid_output"
    assert "'odd' cannot be expressed in JSON" in task.error["message"]


async def test_a_task_whose_result_is_not_json_fails_in_words(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> object:
        return object()

    task = await house.run("work")

    assert task.state is TaskState.FAILED
    assert "The result of function/work cannot be expressed in JSON" in task.error["message"]


@pytest.mark.parametrize("where", ["step", "task", "child"])
async def test_what_is_too_large_to_keep_fails_in_words_and_is_not_tried_forever(
    house: Any, count: Any, where: str
) -> None:
    huge = "x" * 5_000_000

    async def make() -> str:
        count("make")
        return huge

    @house.function
    async def work(ctx: Any) -> Any:
        count("work")
        if where == "step":
            return await ctx.step("make", make)
        if where == "child":
            return await ctx.spawn("function/work", huge)
        return huge

    task = await house.run("work")

    assert task.state is TaskState.FAILED
    assert ("4177916 are the most" if where == "task" else "4194304 are allowed") in task.error["message"]
    assert count["work"] == 1
    assert count["make"] == (where == "step")


async def test_arguments_that_are_not_json_do_not_stop_a_run_and_mean_the_same_in_the_next_life(house: Any) -> None:
    class Client:
        pass

    async def fetch(client: Client, tags: set[str]) -> str:
        return "fetched"

    @house.function
    async def work(ctx: Any) -> Any:
        fetched = await ctx.step("fetch", fetch, Client(), {"a", "b", "c"}, effect="once")
        await ctx.spawn("function/child")
        return fetched

    @house.function
    async def child(ctx: Any) -> None:
        return None

    assert (await house.run("work")).result == "fetched"


async def test_a_changed_question_pauses_the_task_and_returns_nothing_wrong(house: Any) -> None:
    asked = {"city": "Rome"}

    async def weather(city: str) -> str:
        return f"sunny in {city}"

    @house.function
    async def work(ctx: Any) -> Any:
        told = await ctx.step("weather", weather, asked["city"])
        if asked["city"] == "Rome":
            asked["city"] = "Oslo"
        await ctx.spawn("function/child")
        return told

    @house.function
    async def child(ctx: Any) -> None:
        return None

    task = await house.run("work")

    assert task.state is TaskState.PAUSED
    assert task.error["type"] == "journal_mismatch"
    assert task.error["key"] == "weather"
    assert "'weather'" in task.error["message"]
    assert task.attempt == 0


async def test_a_paused_task_goes_on_when_the_code_is_restored_and_it_is_retried(house: Any, count: Any) -> None:
    city = ["Rome", "Oslo", "Rome"]

    async def weather(where: str) -> str:
        count("weather")
        return f"sunny in {where}"

    @house.function
    async def work(ctx: Any) -> Any:
        told = await ctx.step("weather", weather, city.pop(0))
        if len(city) == 2:
            await ctx.spawn("function/child")
        return told

    @house.function
    async def child(ctx: Any) -> None:
        return None

    paused = await house.run("work")
    again = await house.engine.retry(paused.id)
    ended = await house.settled(again)

    assert again.id == paused.id
    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, "sunny in Rome")
    assert ended.error is None
    assert count["weather"] == 1


@pytest.mark.parametrize("now", ["sleep", "spawn", "emit", "step"])
async def test_an_act_of_another_sort_under_a_recorded_key_is_a_mismatch(house: Any, now: str) -> None:
    lives: list[int] = []

    async def nothing() -> None:
        return None

    @house.function
    async def work(ctx: Any) -> None:
        lives.append(1)
        if len(lives) == 1 and now == "step":
            await ctx.sleep(0, key="function/child")
        elif len(lives) == 1:
            await ctx.step("a", nothing, key={"emit": "custom.x", "spawn": "function/child", "sleep": "s"}[now])
        elif now == "sleep":
            await ctx.sleep(0, key="s")
        elif now == "spawn":
            await ctx.spawn("function/child")
        elif now == "emit":
            await ctx.emit("x")
        else:
            await ctx.step("a", nothing, key="function/child")
        await ctx.spawn("function/child", key="parks")

    @house.function
    async def child(ctx: Any) -> None:
        return None

    assert (await house.run("work")).state is TaskState.PAUSED


@pytest.mark.parametrize("names", [("a", "a", "a#1"), ("a#1", "a", "a"), ("gather/0/a", "gather/0/a")])
async def test_names_that_look_like_keys_do_not_collide(house: Any, names: tuple[str, ...]) -> None:
    async def say(number: int) -> int:
        return number

    @house.function
    async def work(ctx: Any) -> Any:
        inner = await ctx.gather(ctx.step("a", say, 99))
        said = [await ctx.step(name, say, number) for number, name in enumerate(names)]
        await ctx.spawn("function/child")
        return inner + said

    @house.function
    async def child(ctx: Any) -> None:
        return None

    assert (await house.run("work")).result == [99, *range(len(names))]


async def test_a_chain_of_two_thousand_steps_ends_and_replays(house: Any, count: Any) -> None:
    async def add(total: int) -> int:
        count("add")
        return total + 1

    @house.function
    async def work(ctx: Any) -> Any:
        total = 0
        for _ in range(2000):
            total = await ctx.step("add", add, total)
        await ctx.spawn("function/child")
        return total

    @house.function
    async def child(ctx: Any) -> None:
        return None

    task = await house.run("work")

    assert task.result == 2000
    assert count["add"] == 2000
    assert (await house.events(task, "step.done"))[-1].data["key"] == "add#1999"
