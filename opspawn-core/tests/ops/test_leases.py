"""A task runs in one place with effect: who lost its lease writes nothing more, and begins no effect."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from opspawn.contracts.store import Claim, TaskState
from opspawn.errors import Interrupted, InvalidTransition, StoreError
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.ops.run.heart import Heart


async def test_a_late_worker_writes_nothing_more(house: Any) -> None:
    """Named guard: the fence on append."""
    gates: list[asyncio.Event] = []

    async def act() -> int:
        gates.append(asyncio.Event())
        mine = len(gates)
        await gates[-1].wait()
        return mine

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act)

    late = house.worker(slots=1)
    task = await house.submit("work")
    await house.until(lambda: len(gates) == 1)
    late._options = WorkerOptions(slots=0)  # it must not claim the task again itself
    await house.lapse(late)
    other = house.worker(slots=1)
    await house.until(lambda: len(gates) == 2)
    gates[0].set()
    await house.until(lambda: late.running == 0)
    written_by_the_late = await house.events(task, "step.done")
    gates[1].set()
    ended = await house.settled(task)

    assert written_by_the_late == []
    assert ended.result == 2
    assert [event.data["worker"] for event in await house.events(task, "task.claimed")] == [late.id, other.id]
    assert len(await house.events(task, "step.done")) == 1


async def test_only_one_of_two_decisions_is_taken(house: Any, count: Any) -> None:
    """Named guard: the version check."""
    both = asyncio.Barrier(2)

    async def pay() -> None:
        count("pay")
        await asyncio.sleep(60)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("pay", pay, effect="once")

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["pay"] == 1)
    await house.kill(worker)
    house.worker()
    await house.settled(task)

    class ReadTogether:
        def __init__(self) -> None:
            self.first = True

        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def get_task(self, id: str) -> Any:
            found = await house.store.get_task(id)
            if self.first:
                self.first = False
                await both.wait()
            return found

    async def resolve(outcome: str) -> Any:
        from opspawn.ops.engine.engine import Engine

        return await Engine(ReadTogether(), house.waker, lambda _, given: given).resolve(task.id, outcome, "paid")  # type: ignore[arg-type]

    answers = await asyncio.gather(resolve("happened"), resolve("happened"), return_exceptions=True)
    ended = await house.settled(task)

    assert sorted(type(answer).__name__ for answer in answers) == ["InvalidTransition", "Task"]
    assert ended.result == "paid"
    assert len(await house.events(task, "task.resolved")) == 1
    assert any(isinstance(answer, InvalidTransition) for answer in answers)


async def test_two_workers_share_two_hundred_tasks_and_each_runs_once(house_on_file: Any, count: Any) -> None:
    """Named guard: the lease on claim."""
    house = house_on_file

    @house.function
    async def work(ctx: Any) -> Any:
        count(str(ctx.input))
        await asyncio.sleep(0.002)
        return await ctx.step("double", lambda n: 2 * n, ctx.input)

    tasks = await asyncio.gather(*(house.submit("work", n) for n in range(200)))
    workers = [house.worker(slots=8), house.worker(slots=8)]
    ended = await asyncio.gather(*(house.settled(task) for task in tasks))

    assert [task.result for task in ended] == [2 * n for n in range(200)]
    assert sorted(count.calls, key=int) == [str(n) for n in range(200)]
    claims = [event.data["worker"] for task in tasks for event in await house.events(task, "task.claimed")]
    assert len(claims) == 200
    assert set(claims) == {worker.id for worker in workers}


async def test_a_blocked_event_loop_does_not_cost_the_lease(house: Any) -> None:
    """Leases are renewed from a thread."""

    began = threading.Event()

    @house.function
    async def work(ctx: Any) -> str:
        began.set()
        time.sleep(1.2)  # noqa: ASYNC251 - a tool that blocks is the point
        return "done"

    other = Worker(house.store, house.waker, {"function/work": house.functions["work"]}, WorkerOptions(poll_s=0.05))

    def work_too() -> None:
        began.wait()
        asyncio.run(other.run())

    house.worker(lease_s=0.4)
    thread = threading.Thread(target=work_too)
    thread.start()
    task = await house.submit("work")  # its code may run before this returns
    ended = await house.settled(task)
    other._loop.call_soon_threadsafe(other.stop)  # type: ignore[union-attr]
    await asyncio.to_thread(thread.join)

    assert ended.result == "done"
    assert len(await house.events(task, "task.claimed")) == 1


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_worker_that_cannot_renew_stops_its_runs_before_others_get_them(
    house: Any, count: Any, how: str
) -> None:
    class Deaf:
        """Nothing of it reaches the store any more, once cut off."""

        cut_off = False

        def __getattr__(self, name: str) -> Any:
            if self.cut_off and how == "refuses":
                raise StoreError("The network is down.")
            return getattr(house.store, name)

        async def renew(self, *arguments: Any) -> Any:
            if self.cut_off:
                await asyncio.sleep(1.5 if how == "hangs" else 0.0)
                raise StoreError("The network is down.")
            return await house.store.renew(*arguments)

    async def act() -> str:
        if count("act") > 1:
            return "done"
        try:
            await asyncio.sleep(60)
        finally:
            thief = Claim("thief", ("default",), ("function/work",), 1, 0.0)
            stolen.append(await house.store.claim(thief))
        return "never"

    async def more() -> None:
        count("more")

    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.step("act", act)
        finally:
            with pytest.raises(Interrupted):
                await ctx.step("more", more)

    stolen: list[Any] = []
    store = Deaf()
    house.worker(store=store, lease_s=1.0)
    task = await house.submit("work")
    await house.until(lambda: count["act"] == 1)
    store.cut_off = True
    await house.until(lambda: bool(stolen))
    house.functions["work"] = lambda ctx: ctx.step("act", act)
    house.worker()
    finished = await house.settled(task)

    assert stolen == [[]]  # when the run ended, the task was still its worker's
    assert finished.result == "done"
    assert (count["act"], count["more"]) == (2, 0)


async def test_a_run_whose_lease_somebody_else_has_is_told_and_ends(house: Any, count: Any) -> None:
    async def act() -> None:
        count("began")
        try:
            await asyncio.sleep(60)
        finally:
            count("ended")

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.step("act", act)

    worker = house.worker(lease_s=0.4, slots=1)
    task = await house.submit("work")
    await house.until(lambda: count["began"] == 1)
    worker._options = WorkerOptions(slots=0)
    stolen: list[Any] = []
    while not stolen:  # a renewal may come in between
        await house.lapse(worker)
        stolen = await house.store.claim(Claim("thief", ("default",), ("function/work",), 1, 30.0))
    await house.until(lambda: count["ended"] == 1 and worker.running == 0)

    assert (await house.engine.task(task.id)).owner == "thief"
    assert await house.types(task) == ["task.accepted", "task.claimed", "task.claimed"]


async def test_a_worker_that_gets_its_own_lost_task_again_ends_the_former_life_first(house: Any, count: Any) -> None:
    inside: list[int] = []

    async def act() -> str:
        if count("act") > 1:
            inside.append(count["in"] - count["out"])
            return "done"
        count("in")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            count("out")
        return "never"

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.step("act", act)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["act"] == 1)
    await house.lapse(worker)
    ended = await house.settled(task)

    assert ended.result == "done"
    assert inside == [0]
    assert len(await house.events(task, "task.claimed")) == 2
    await house.until(lambda: worker.running == 0)


async def test_a_heart_goes_on_after_any_fault_of_the_store(house: Any) -> None:
    class Stumbles:
        renewals = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def renew(self, *arguments: Any) -> Any:
            self.renewals += 1
            if self.renewals == 1:
                raise RuntimeError("a bug in a plugin")
            return await house.store.renew(*arguments)

    @house.function
    async def work(ctx: Any) -> str:
        await asyncio.sleep(1.2)
        return "done"

    store = Stumbles()
    house.worker(store=store, lease_s=0.6)
    task = await house.submit("work")
    ended = await house.settled(task)

    assert ended.result == "done"
    assert store.renewals > 1
    assert len(await house.events(task, "task.claimed")) == 1


async def test_a_heart_that_was_not_renewed_in_time_lets_no_effect_begin(house: Any) -> None:
    heart = Heart(house.store, "w", 0.05, list, lambda lost: None)
    heart.check()
    await asyncio.sleep(0.05)

    assert heart.fenced
    with pytest.raises(Interrupted, match="could not be renewed in time"):
        heart.check()
    heart.leased()
    heart.check()


async def test_a_waker_that_fails_costs_latency_and_no_work(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> str:
        return "done"

    class Broken:
        def ring(self, queue: str) -> None:
            return None

        async def wait(self, queues: Any, timeout_s: float) -> None:
            raise ConnectionError("no doorbell")

    worker = Worker(house.store, Broken(), {"function/work": house.functions["work"]}, WorkerOptions(poll_s=0.02))  # type: ignore[arg-type]
    working = asyncio.create_task(worker.run())
    ended = await house.settled(await house.submit("work"))
    worker.stop()
    await working

    assert ended.result == "done"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_store_that_fails_for_a_moment_costs_no_attempt_and_soon_goes_on(
    house: Any, unreliable: Any, count: Any, when: str
) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return [await ctx.step("act", lambda: count("act")), await ctx.step("more", lambda: count("more"))]

    failed: list[Any] = []

    def fails(batch: Any) -> str | None:
        is_first = any(getattr(getattr(one, "event", None), "type", "") == "step.done" for one in batch.operations)
        if is_first and not failed:
            failed.append(batch)
            return when
        return None

    unreliable.fails = fails
    house.worker(store=unreliable)
    task = await house.run("work")

    assert task.result == [2 if when == "before" else 1, 1]
    assert (task.attempt, task.deliveries) == (0, 0)
    assert "task.released" in await house.types(task)


async def test_code_that_catches_a_failure_of_the_store_does_not_go_on(house: Any, unreliable: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.step("act", lambda: count("act"))
        except Exception:
            return "went on"

    unreliable.fails = lambda batch: "before" if unreliable.commits == 1 else None
    house.worker(store=unreliable)

    assert (await house.run("work")).result == 2


async def test_a_store_that_is_down_when_a_worker_starts_is_tried_again(house: Any) -> None:
    class Down:
        tries = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def claim(self, claim: Any) -> Any:
            self.tries += 1
            if self.tries < 3:
                raise StoreError("The store is down.")
            return await house.store.claim(claim)

    @house.function
    async def work(ctx: Any) -> str:
        return "done"

    house.worker(store=Down())

    assert (await house.run("work")).state is TaskState.SUCCEEDED
