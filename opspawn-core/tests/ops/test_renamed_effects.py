"""A `once` effect in doubt stays in doubt when new code has another name for it, or does without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from opspawn import DidNotHappen
from opspawn.contracts.store import TaskState


@pytest.fixture
def deploy(house: Any, count: Any) -> Callable[..., None]:
    """Makes function/work perform the `once` steps of these names; the first of all never comes back."""

    async def pay() -> str:
        if count("pay") == 1:
            await asyncio.sleep(60)
        return "paid"

    def make(*names: str, before: Callable[[Any], Any] | None = None) -> None:
        async def work(ctx: Any) -> Any:
            if before is not None:
                await before(ctx)
            return [await ctx.step(name, pay, effect="once") for name in names]

        house.function(work)

    return make


async def crashed(house: Any, count: Any, deploy: Callable[..., None]) -> Any:
    """A task that was killed while it paid."""
    deploy("pay")
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    return task


async def test_under_another_name_it_does_not_begin_again(house: Any, count: Any, deploy: Callable[..., None]) -> None:
    """Named guard: a new `once` effect waits for those in doubt."""
    task = await crashed(house, count, deploy)
    deploy("charge")
    house.worker()

    doubtful = await house.settled(task)

    assert doubtful.state is TaskState.IN_DOUBT
    assert (doubtful.error["key"], count["pay"]) == ("pay", 1)
    assert "renamed or removed" in doubtful.error["doubts"][0]["note"]

    await house.engine.resolve(task.id, "not-happened")
    assert (await house.settled(task)).result == ["paid"]
    assert count["pay"] == 2


async def test_code_that_does_without_it_does_not_succeed_over_it(
    house: Any, count: Any, deploy: Callable[..., None]
) -> None:
    """Named guard: a run does not end over what is in doubt."""
    task = await crashed(house, count, deploy)
    deploy()
    house.worker()

    assert (await house.settled(task)).state is TaskState.IN_DOUBT

    await house.engine.resolve(task.id, "happened", "paid by hand")
    ended = await house.settled(task)
    assert (ended.state, ended.result) == (TaskState.SUCCEEDED, [])
    assert count["pay"] == 1


async def test_a_branch_that_is_on_its_way_to_it_is_waited_for(
    house: Any, count: Any, deploy: Callable[..., None]
) -> None:
    """Its check settles the doubt, and only then does the other branch begin what is new."""
    told: list[str] = []
    again = False

    async def pay(name: str) -> str:
        if count(name) == 1 and name == "old":
            await asyncio.sleep(60)
        told.append(name)
        return name

    async def checked(arguments: Any, context: Any) -> Any:
        told.append("check")
        return DidNotHappen

    async def work(ctx: Any) -> Any:
        async def slow() -> str:
            await asyncio.sleep(0.2 if again else 0)
            return str(await ctx.step("old", pay, "old", effect="once", check=checked))

        async def quick() -> str:
            return str(await ctx.step("new", pay, "new", effect="once")) if again else "later"

        return await ctx.gather(slow(), quick())

    house.function(work)
    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["old"] == 1)
    await house.kill(worker)
    again = True
    house.worker()

    assert (await house.settled(task)).result == ["old", "new"]
    assert told[0] == "check"
    assert sorted(told) == ["check", "new", "old"]
