"""Only the store's clock counts for what is due; a worker's own may be wrong, and may jump."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.store import Claim
from opspawn.ops.engine.engine import Engine
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.stores.sqlite import open_sqlite
from opspawn.wakers.local import LocalWaker


class Wrong:
    """A worker's clock that is off by some seconds."""

    virtual = False

    def __init__(self, off_s: float) -> None:
        self.off_s = off_s

    def time(self) -> float:
        return time.time() + self.off_s

    def monotonic(self) -> float:
        return SYSTEM_CLOCK.monotonic()


async def test_timers_and_recorded_times_are_the_stores(house: Any) -> None:
    """Named guard: runs take the time from their lease."""

    async def work(ctx: Any) -> Any:
        await ctx.sleep(0.02)
        return (await ctx.now()).isoformat()

    for off_s in (3600.0, -3600.0):
        clock = Wrong(off_s)
        worker = Worker(
            house.store, house.waker, {"function/work": work}, WorkerOptions(poll_s=0.05, drain_s=1.0), clock=clock
        )
        house.functions["work"] = work
        running = asyncio.create_task(worker.run())
        task = await house.settled(await house.submit("work"))
        worker.stop()
        await running

        assert task.state == "succeeded"
        assert abs(datetime.fromisoformat(task.result) - datetime.now(UTC)) < timedelta(minutes=10)
        (timer,) = await house.events(task, "timer.set")
        assert abs(timer.data["until"] - time.time()) < 600


async def test_a_store_asks_the_clock_that_it_was_given() -> None:
    clock = Wrong(0.0)
    store = await open_sqlite(":memory:", clock=clock)
    engine = Engine(store, LocalWaker(), lambda _, given: given, clock)
    claim = Claim("w", ("default",), ("function/work",), 1, 30.0)

    task = await engine.submit("function/work", delay_s=86400.0)
    before = await store.claim(claim)
    clock.off_s = 86401.0
    after = await store.claim(claim)

    assert before == []
    assert [lease.task.id for lease in after] == [task.id]
    await store.aclose()
