"""A task that keeps killing its worker is tried alone, in a process of its own, and then dead; good ones are not."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.events import Event
from opspawn.contracts.store import Claim, TaskState
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.ops.run.history import History
from opspawn.ops.run.life import Life
from opspawn.ops.run.poison import AT_ONCE, CUT_OFF_AT_ONCE, LONGEST_REST_S, Cell, rest_s

#: What a process of its own does: says that it begins, and ends as it is told.
ALONE = "import sys, os, signal, time\norder = sys.stdin.readline()\nprint('began', flush=True)\n"


def cells(script: str) -> Any:
    """Makes processes that run `script`."""
    made: list[Cell] = []

    def isolate(lease: Any, ahead_s: float) -> Cell:
        cell = Cell([sys.executable, "-c", ALONE + script], {"task": lease.task.id})
        made.append(cell)
        return cell

    isolate.made = made  # type: ignore[attr-defined]
    return isolate


@pytest.fixture
def deadly(house: Any, count: Any) -> Any:
    """function/work hangs where its process is then killed; `kill(n)` lets n workers die of it."""

    @house.function
    async def work(ctx: Any) -> Any:
        await ctx.step("before", lambda: count("before"))
        count("work")
        await asyncio.sleep(60)

    async def kill(times: int) -> Any:
        task = await house.submit("work")
        for n in range(1, times + 1):
            worker = house.worker()
            await house.until(lambda n=n: count["work"] == n)
            await house.kill(worker)
        return task

    house.kill_times = kill
    return house


async def test_a_task_that_killed_three_workers_without_progress_is_dead_after_a_try_alone(
    deadly: Any, count: Any
) -> None:
    """Named guard: the count of lost claims. The first claim finished a step, so three more are granted."""
    isolate = cells("os.kill(os.getpid(), signal.SIGKILL)")
    task = await deadly.kill_times(4)
    worker = deadly.worker(isolate=isolate)
    ended = await deadly.settled(task)

    assert count["work"] == 4  # not run in this process again
    assert (ended.state, ended.error["type"], ended.attempt) == (TaskState.FAILED, "poison", 1)
    claims = await deadly.events(task, "task.claimed")
    lost = [event.data["worker"] for event in claims[1:4]]
    assert ended.error["workers"] == lost
    for words in (*lost, "after step 'before'", "was killed by SIGKILL", f"opspawn tasks retry {task.id}"):
        assert words in ended.error["message"]
    assert len(await deadly.events(task, "task.isolated")) == len(isolate.made) == 1
    assert not worker.stopping


async def test_a_process_of_its_own_tells_by_its_end_that_the_engine_failed(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named guard: what nobody foresaw would bring the task back for ever."""

    @house.function
    async def work(ctx: Any) -> None:
        return None

    async def fails(*_: Any) -> None:
        raise ZeroDivisionError

    await house.submit("work")
    worker = Worker(house.store, house.waker, {"function/work": work}, WorkerOptions())
    [lease] = await house.store.claim(Claim(worker.id, ("default",), ("function/work",), 1, 30.0))
    monkeypatch.setattr(Life, "conclude", fails)

    with pytest.raises(ZeroDivisionError):
        await worker.run_alone(lease.task, SYSTEM_CLOCK)


@pytest.mark.parametrize("deaths", [1, 3])
async def test_fewer_deaths_make_nobody_suspect(deadly: Any, count: Any, deaths: int) -> None:
    task = await deadly.kill_times(deaths)
    deadly.worker(isolate=cells("sys.exit(1)"))
    await deadly.until(lambda: count["work"] == deaths + 1)

    assert await deadly.events(task, "task.isolated") == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sys.exit(7)", "In a process of its own it ended with exit code 7."),
        ("os.abort()", "In a process of its own it was killed by SIGABRT."),
    ],
)
async def test_the_message_tells_how_it_died_alone(deadly: Any, script: str, words: str) -> None:
    task = await deadly.kill_times(4)
    deadly.worker(isolate=cells(script))

    assert words in (await deadly.settled(task)).error["message"]


@pytest.mark.parametrize(
    ("isolate", "words"),
    [
        ("The store is in memory.", "The store is in memory."),
        (lambda lease, ahead: Cell(["/nowhere/at/all"], {}), "it could not be started: No such file or directory."),
        (lambda lease, ahead: Cell([sys.executable, "-c", "import sys; sys.exit(2)"], {}), "it could not be started"),
    ],
)
async def test_where_there_is_no_process_of_its_own_it_is_dead_at_once_and_says_so(
    deadly: Any, isolate: Any, words: str
) -> None:
    task = await deadly.kill_times(4)
    deadly.worker(isolate=isolate)

    assert words in (await deadly.settled(task)).error["message"]


async def test_a_poison_task_has_a_fallback_like_any_other(deadly: Any, count: Any) -> None:
    @deadly.function
    async def backup(ctx: Any) -> Any:
        return ctx.input["error"]["type"]

    @deadly.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/work", fallback="function/backup")

    task = await deadly.submit("parent")
    for n in range(1, 5):
        worker = deadly.worker()
        await deadly.until(lambda n=n: count["work"] == n)
        await deadly.kill(worker)
    deadly.worker(isolate=cells("os.abort()"))

    assert (await deadly.settled(task)).result == "poison"


async def test_a_suspect_can_be_cancelled_without_running_it(deadly: Any) -> None:
    isolate = cells("os.abort()")
    task = await deadly.kill_times(4)
    await deadly.engine.cancel(task.id)
    deadly.worker(isolate=isolate)

    assert (await deadly.settled(task)).state is TaskState.CANCELLED
    assert isolate.made == []


async def test_others_are_served_while_suspects_are_tried(deadly: Any) -> None:
    @deadly.function
    async def good(ctx: Any) -> str:
        return "done"

    task = await deadly.kill_times(4)
    deadly.worker(isolate=cells("time.sleep(60)"))
    await deadly.until(lambda: _has(deadly, task, "task.isolated"))

    assert (await deadly.run("good")).result == "done"


@pytest.mark.parametrize("stops", [1, 2])
async def test_a_worker_that_stops_gives_a_suspect_back_and_it_stays_suspect(deadly: Any, stops: int) -> None:
    """Named guard: a release keeps the count, or each restart would cost three more workers."""
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)" if stops == 2 else "time.sleep(60)"
    task = await deadly.kill_times(4)
    worker = deadly.worker(isolate=cells(script), drain_s=60.0)
    await deadly.until(lambda: _has(deadly, task, "task.isolated"))
    for _ in range(stops - 1):
        worker.stop()
    await deadly.stop(worker)
    released = await deadly.engine.task(task.id)
    deadly.worker(isolate=cells("os.abort()"))
    ended = await deadly.settled(task)

    assert (released.state, released.attempt) == (TaskState.QUEUED, 0)
    assert ended.error["type"] == "poison"


async def test_a_good_task_whose_workers_are_all_killed_from_outside_is_never_condemned(
    deadly: Any, monkeypatch: Any
) -> None:
    """Named guard: only the end of the process of its own, while its worker lives, tells of the task itself."""
    monkeypatch.setattr("opspawn.ops.run.poison.FIRST_REST_S", 0.01)
    task = await deadly.kill_times(4)
    for n in range(1, CUT_OFF_AT_ONCE + 4):
        worker = deadly.worker(isolate=cells("time.sleep(60)"))
        await deadly.until(lambda n=n: _has(deadly, task, "task.isolated", n))
        await deadly.kill(worker)
    alive = (await deadly.engine.task(task.id)).state
    deadly.worker(isolate=cells("os.abort()"))

    assert not alive.terminal
    assert "was killed by SIGABRT" in (await deadly.settled(task)).error["message"]


async def test_who_is_killed_together_with_its_worker_is_not_condemned_by_it(deadly: Any, monkeypatch: Any) -> None:
    """The process of its own goes first; its worker, which is next, must not commit a verdict in between."""
    monkeypatch.setattr("opspawn.ops.run.poison.WHOLE_S", 60.0)
    isolate = cells("os.kill(os.getpid(), signal.SIGKILL)")
    task = await deadly.kill_times(4)
    worker = deadly.worker(isolate=isolate)
    await deadly.until(lambda: bool(isolate.made) and isolate.made[0].killed)
    await asyncio.sleep(0.3)  # in which a verdict would be committed
    await deadly.kill(worker)

    assert not (await deadly.engine.task(task.id)).state.terminal


async def test_a_few_are_tried_at_once_and_the_others_wait(deadly: Any, count: Any) -> None:
    tasks = [await deadly.submit("work") for _ in range(AT_ONCE + 2)]
    for n in range(1, 5):
        worker = deadly.worker()
        await deadly.until(lambda n=n: count["work"] == n * len(tasks))
        await deadly.kill(worker)
    isolate = cells("time.sleep(0.3); sys.exit(1)")
    deadly.worker(isolate=isolate)
    await deadly.until(lambda: len(isolate.made) == AT_ONCE)
    ended = [await deadly.settled(task) for task in tasks]

    assert {task.error["type"] for task in ended} == {"poison"}
    assert len(isolate.made) == len(tasks)


# -- the count ---------------------------------------------------------------------------------------------------------


def journal(*events: tuple[str, dict[str, Any]]) -> History:
    from datetime import UTC, datetime

    history = History()
    time = datetime(2026, 1, 1, tzinfo=UTC)
    history.absorb([Event(n, "t", time, type, data) for n, (type, data) in enumerate(events, start=1)])
    return history


def claim(n: int) -> tuple[str, dict[str, Any]]:
    return ("task.claimed", {"worker": f"w{n}", "deliveries": n})


DONE = ("step.done", {"key": "a", "name": "a", "digest": ""})


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ([claim(0)], []),
        ([claim(0), claim(1), claim(2)], ["w0", "w1"]),
        ([claim(0), DONE, claim(1), claim(2)], ["w1"]),
        ([claim(0), claim(1), DONE, claim(2)], []),
        ([claim(0), claim(1), claim(0)], []),  # parked, released, or tried again in between
        ([claim(0), claim(1), claim(1), claim(2)], ["w0", "w1"]),  # given back with its count
        ([claim(0), claim(1), ("task.isolated", {}), claim(2)], ["w0", "w1"]),
    ],
)
def test_claims_are_counted_that_were_lost_in_a_row_without_progress(events: Any, lost: list[str]) -> None:
    assert journal(*events).losses.lost == lost


@pytest.mark.parametrize(
    ("tries", "after_s", "rest"),
    [(2, 0.0, 0.0), (3, 0.0, 5.0), (3, 4.0, 1.0), (3, 9.0, 0.0), (4, 0.0, 10.0), (99, 0.0, 300.0)],
)
def test_tries_alone_that_were_cut_off_are_repeated_after_longer_and_longer_rests(
    tries: int, after_s: float, rest: float
) -> None:
    history = journal(*[("task.isolated", {})] * tries)
    assert history.losses.tried is not None

    assert rest_s(history, history.losses.tried.timestamp() + after_s) == rest <= LONGEST_REST_S


async def _has(house: Any, task: Any, type: str, times: int = 1) -> bool:
    return len(await house.events(task, type)) >= times
