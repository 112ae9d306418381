"""Each due time is served once, by one of all that look; what is missed is made up for as the schedule says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opspawn import App
from opspawn.config import load_settings
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.schedule import Schedule
from opspawn.contracts.store import Batch, EventQuery, Put, Query, Task
from opspawn.errors import ConfigError, InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.host import Host
from opspawn.ops.schedules.firing import Firing

PATIENCE_S = 20.0


async def note(ctx: Any) -> Any:
    """Return what it got."""
    return ctx.input


async def stay(ctx: Any) -> Any:
    """Wait to be told."""
    return await ctx.wait("go")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    """Without a worker: tests look by themselves."""
    async with _open(tmp_path, worker=False) as running:
        yield running


def _open(folder: Path, text: str = "", **parts: Any) -> Any:
    (folder / "opspawn.toml").write_text("[worker]\npoll_s = 0.05\n" + text, encoding="utf-8")
    loaded = load_settings(folder / "opspawn.toml", environ={}, cwd=folder)
    return Host.open(App(functions={"note": note, "stay": stay}), loaded=loaded, **parts)


def a_scheduler(host: Host, store: Any = None, owner: str = "one", submit: Any = None) -> Firing:
    return Firing(
        store or host.store, host.schedules, submit or host._submit, owner, lambda schedule: True, SYSTEM_CLOCK
    )


async def overdue(host: Host, schedule: Schedule, passed_s: float) -> datetime:
    """A schedule whose next time passed so long ago; that time."""
    await host.schedules.add(schedule)
    kept = await host.schedules.kept(schedule.name)
    due = (await host.schedules.now()).replace(microsecond=0) - timedelta(seconds=passed_s)
    assert kept.status.next is not None
    changed = replace(schedule, at=schedule.at and due)
    began = due - timedelta(seconds=schedule.every_s or 0)
    passed = replace(kept, began=began).but(next=due, schedule=changed)
    await host.store.commit(Batch([Put(passed.record(), expect=kept.version)]))
    return due


async def look_at_all(*schedulers: Firing) -> None:
    """Let each look until none has anything to do."""
    again = True
    while again:
        again = 0.0 in await asyncio.gather(*(one.look() for one in schedulers))


async def tasks_of(host: Host, name: str) -> Sequence[Task]:
    return (await host.tasks(Query(labels={"schedule": name}, limit=200))).items


async def told(host: Host, *types: str) -> list[dict[str, Any]]:
    return [event.data for event in await host.events(EventQuery(types=types, limit=1000))]


async def test_two_that_see_the_same_time_due_submit_one_task(host: Host) -> None:
    """Named guard: the version of the schedule, and the key made of its name and the time."""
    due = await overdue(host, Schedule("s", "function/note", {"n": 1}, every_s=3600), 10)
    kept = await host.schedules.kept("s")
    one, other = a_scheduler(host, owner="one"), a_scheduler(host, owner="other")

    now = await host.schedules.now()
    await asyncio.gather(*(scheduler.serve(kept, now) for scheduler in (one, other, one, other)))

    (task,) = await tasks_of(host, "s")
    assert (task.handler, task.input) == ("function/note", {"n": 1})
    status = await host.schedules.get("s")
    assert (status.fired, status.skipped, status.last, status.task) == (1, 0, due, task.id)
    assert status.next == due + timedelta(seconds=3600)
    assert len(await told(host, "schedule.fired")) == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_scheduler_that_dies_around_the_commit_leaves_one_task(host: Host, when: str) -> None:
    """Named guard: the task and the next time are one commit."""
    await overdue(host, Schedule("s", "function/note", every_s=3600), 10)

    async def die(*asked: Any) -> Task:
        if when == "after":
            await host._submit(*asked)
        raise StoreError("The process is gone.")

    with pytest.raises(StoreError):
        await a_scheduler(host, submit=die).look()
    await look_at_all(a_scheduler(host, owner="next"))

    assert len(await tasks_of(host, "s")) == 1
    assert (await host.schedules.get("s")).fired == 1


@pytest.mark.parametrize(
    ("catch_up", "passed_s", "tasks", "skipped"),
    [
        ("once", 35, 1, 0),
        ("all", 35, 4, 0),
        ("skip", 35, 1, 0),
        ("skip", 3600, 0, 1),
        ("skip", 5, 1, 0),
        ("once", 3600, 1, 0),
    ],
)
async def test_times_that_were_missed(host: Host, catch_up: Any, passed_s: float, tasks: int, skipped: int) -> None:
    """Every ten seconds for 35 s are four times; of one an hour ago only that one."""
    every = 10.0 if passed_s < 60 else 7200.0
    due = await overdue(
        host, Schedule("s", "function/note", every_s=every, catch_up=catch_up, overlap="allow"), passed_s
    )

    await look_at_all(a_scheduler(host))

    status = await host.schedules.get("s")
    assert (len(await tasks_of(host, "s")), status.fired, status.skipped) == (tasks, tasks, skipped)
    assert status.next is not None
    assert status.next > await host.schedules.now() - timedelta(seconds=1)
    assert (status.next - due).total_seconds() % every == 0


async def test_of_very_many_missed_times_the_newest_are_made_up_for(host: Host) -> None:
    await overdue(
        host, Schedule("s", "function/note", cron="* * * * * *", catch_up="all", at_most=3, overlap="allow"), 90_000
    )

    await look_at_all(a_scheduler(host))

    fired = await told(host, "schedule.fired")
    assert 3 <= len(fired) <= 6  # and those that came meanwhile
    assert "missedFrom" in fired[0]


async def test_while_one_makes_up_for_what_was_missed_the_others_leave_it_to_that(host: Host) -> None:
    """So many that all see the same time due would only get conflicts."""
    await overdue(host, Schedule("s", "function/note", every_s=10, catch_up="all", overlap="allow"), 45)
    one, other = a_scheduler(host, owner="one"), a_scheduler(host, owner="other")
    await one.look()

    assert await other.look() > 0
    assert (await host.schedules.get("s")).fired == 1
    await look_at_all(one)
    assert (await host.schedules.get("s")).fired == 5


async def test_a_time_is_left_out_while_the_task_before_has_not_ended(host: Host) -> None:
    await overdue(host, Schedule("s", "function/stay", every_s=10, catch_up="all"), 25)

    await look_at_all(a_scheduler(host))

    (task,) = await tasks_of(host, "s")
    assert [data["why"] for data in await told(host, "schedule.skipped")] == ["overlap", "overlap"]
    assert (await told(host, "schedule.skipped"))[0]["task"] == task.id


async def test_queued_tasks_run_one_after_the_other(tmp_path: Path) -> None:
    """They hold a place that is there once, and `why` says so."""
    async with _open(tmp_path) as host:
        await overdue(host, Schedule("s", "function/stay", every_s=1000, overlap="queue", catch_up="all"), 1500)
        await look_at_all(a_scheduler(host))
        newest, oldest = await tasks_of(host, "s")
        async with asyncio.timeout(PATIENCE_S):
            while (await host.task(oldest.id)).state != "waiting":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        waits = (await host.why(newest.id)).waits

        assert waits[0].what == f"The tasks of the schedule 's' run one after the other: {oldest.id}."
        for task in (oldest, newest):
            await host.signal(task.id, "go", task.id)
        assert (await host.wait(newest.id, PATIENCE_S)).result == newest.id


async def test_one_that_was_paused_goes_on_without_what_passed(host: Host) -> None:
    await overdue(host, Schedule("s", "function/note", every_s=10, catch_up="all"), 100)
    await host.schedules.pause("s")
    await look_at_all(a_scheduler(host))
    assert await tasks_of(host, "s") == []

    await host.schedules.resume("s")
    await look_at_all(a_scheduler(host))

    status = await host.schedules.get("s")
    assert (status.state, status.fired) == ("active", 0)
    assert status.next is not None
    assert status.next > await host.schedules.now()


async def test_one_time_comes_once_and_the_schedule_has_ended(host: Host) -> None:
    due = await overdue(host, Schedule("s", "function/note", at=datetime.now(UTC) + timedelta(hours=1)), 3)

    await look_at_all(a_scheduler(host))

    status = await host.schedules.get("s")
    assert (status.state, status.next, status.fired, status.last) == ("ended", None, 1, due)
    with pytest.raises(InvalidTransition, match="has ended"):
        await host.schedules.resume("s")


async def test_a_time_that_cannot_be_served_is_told_and_does_not_come_again(host: Host) -> None:
    await overdue(host, Schedule("s", "function/note", every_s=3600), 10)

    async def refuse(*asked: Any) -> Task:
        raise InvalidInput("It does not fit.")

    await look_at_all(a_scheduler(host, submit=refuse))

    status = await host.schedules.get("s")
    assert status.error is not None
    assert status.error["message"] == "It does not fit."
    assert (await told(host, "schedule.failed"))[0]["schedule"] == "s"
    findings = [found.what for part, found in await host.examine() if part == "schedules"]
    assert findings == [
        "Schedules: 1, of which 1 are active.",
        "The schedule 's' could not be served: It does not fit.",
    ]


async def test_whoever_lacks_the_handler_leaves_it_to_others_and_the_doctor_tells(host: Host) -> None:
    """As in a rolling deployment."""
    await overdue(host, Schedule("s", "function/note", every_s=3600), 100)
    lacking = Firing(host.store, host.schedules, host._submit, "old", lambda schedule: False, SYSTEM_CLOCK)

    await look_at_all(lacking)

    assert await tasks_of(host, "s") == []
    findings = [found for part, found in await host.examine() if part == "schedules" and found.level == "warning"]
    assert findings[0].what.startswith("The schedule 's' was due at ")


async def test_a_worker_lets_those_of_its_configuration_fire(tmp_path: Path) -> None:
    """Made at the start, and changed by a restart; a person's pause stays."""
    table = '[schedules.tick]\nrun = "function/note"\ninput = {n = 1}\ncron = "* * * * * *"\noverlap = "allow"\n'
    async with _open(tmp_path, table) as host:
        async with asyncio.timeout(PATIENCE_S):
            while len(await tasks_of(host, "tick")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await host.schedules.get("tick")).source == "config"
        await host.schedules.pause("tick")
    async with _open(tmp_path, table.replace("n = 1", "n = 2")) as host:
        status = await host.schedules.get("tick")

    assert (status.state, status.schedule.input) == ("paused", {"n": 2})
    fired = await _due_times(tmp_path)
    assert len(fired) == len(set(fired))


async def _due_times(folder: Path) -> list[str]:
    async with _open(folder, worker=False) as host:
        return [data["due"] for data in await told(host, "schedule.fired")]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('run = "function/note"\ncron = "61 * * * *"', r"schedules\.s\.cron is '61 \* \* \* \*': bad minute"),
        ('run = "function/gone"\nevery = "10m"', r"schedules\.s: There is no function 'gone'"),
        ('run = "function/note"\nevery = "soon"', r"schedules\.s\.every"),
        ('run = "function/note"\nat = 2020-01-01T00:00:00Z', r"schedules\.s\.at is 2020-01-01 .*, which has passed"),
    ],
)
async def test_a_wrong_table_is_refused_with_its_key(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        async with _open(tmp_path, f"[schedules.s]\n{table}\n"):
            pass


async def test_the_same_again_changes_nothing_and_something_else_goes_on_from_now(host: Host) -> None:
    first = await host.schedule("s", "function/note", every_s=600)

    assert await host.schedule("s", "function/note", every_s=600) == first
    changed = await host.schedule("s", "function/note", every_s=60)
    assert first.next is not None
    assert changed.next is not None
    assert changed.next < first.next
    await host.schedules.remove("s")
    with pytest.raises(NotFound, match="There is no schedule 's'"):
        await host.schedules.get("s")


async def test_running_one_now_leaves_its_times_alone(host: Host) -> None:
    before = await host.schedule("s", "function/note", {"n": 7}, every_s=600)

    task = await host.schedules.run("s")

    assert (task.input, task.labels) == ({"n": 7}, {"schedule": "s"})
    assert await host.schedules.get("s") == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zone": "Europe/Berlin"}, "zone goes with cron alone"),
        ({"labels": {"schedule": "mine"}}, "labels has 'schedule', which is the name of the schedule"),
        ({"labels": {f"n{n}": "x" for n in range(64)}}, "labels is of 65 labels; 64 are the most"),
    ],
)
async def test_what_its_tasks_could_not_keep_to_is_refused(host: Host, given: dict[str, Any], words: str) -> None:
    """And not accepted, to be left out or to fail each time that it comes."""
    with pytest.raises(InvalidInput, match=words):
        await host.schedules.add(Schedule("s", "function/note", every_s=60.0, **given))
