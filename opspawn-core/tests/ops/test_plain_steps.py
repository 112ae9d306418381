"""Plain functions as steps: in threads that nothing can stop, and that stand in nobody's way."""

from __future__ import annotations

import threading
from typing import Any

from opspawn.agentkit import threads

STUCK = threads.MOST_THREADS + 1


async def test_steps_that_hang_after_their_task_has_ended_hold_up_no_other(house: Any) -> None:
    let_go = threading.Event()

    @house.function
    async def hang(ctx: Any) -> Any:
        return await ctx.step("hang", let_go.wait)

    @house.function
    async def quick(ctx: Any) -> Any:
        return await ctx.step("quick", lambda: "here")

    house.worker()
    try:
        stuck = [await house.submit("hang", timeout_s=0.1) for _ in range(STUCK)]
        for task in stuck:
            assert (await house.settled(task)).error["type"] == "timeout"
        assert (await house.run("quick")).result == "here"
    finally:
        let_go.set()


async def test_a_step_that_raises_stopiteration_fails(house: Any) -> None:
    @house.function
    async def empty(ctx: Any) -> Any:
        return await ctx.step("next", lambda: next(iter([])))

    ended = await house.run("empty")

    assert (ended.state, ended.error["message"]) == ("failed", "RuntimeError: StopIteration: ")
