"""Schedules: what is submitted again and again, or once, when its time has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from opspawn.contracts.store import Task

Overlap = Literal["skip", "queue", "allow"]
CatchUp = Literal["skip", "once", "all"]
ScheduleState = Literal["active", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is to be submitted, and when. Exactly one of `cron`, `every_s` and `at` is given.

    Attributes:
        name: an id. run: the handler, e.g. "agent/helper", "workflow/report". input: what it gets.
        cron: "MINUTE HOUR DAY MONTH WEEKDAY", with seconds as a sixth field before them, in the time of `zone`. A time
            that the change to summer time skips comes right after it, one that is there twice comes once.
        every_s: seconds between two times, 1 or more; the first comes so long after the schedule was made.
        at: one time, with an offset.
        overlap: when the task before has not ended: "skip" this time, "queue" behind it, or "allow" both.
        catch_up: of the times that passed while no worker was there: "skip" all that are older than a minute, make up
            for the newest "once", or for "all", of which `at_most` at once, the newest.
        enabled: whether it begins active.
        queue, priority, labels: of its tasks; they have the label "schedule" besides.
    """

    name: str
    run: str
    input: Any = None
    cron: str | None = None
    every_s: float | None = None
    at: datetime | None = None
    zone: str = "UTC"
    overlap: Overlap = "skip"
    catch_up: CatchUp = "once"
    at_most: int = 100
    enabled: bool = True
    queue: str = "default"
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule as it stands.

    Attributes:
        source: who made it: "config" or "api". next: the next due time; None if there is none.
        last: the due time that was served last, and task: the task that came of it. fired: how many there were.
        skipped: how many times were left out, because of an overlap or since they were missed.
        error: why the last time could not be served, if so.
    """

    schedule: Schedule
    state: ScheduleState
    source: str
    next: datetime | None
    last: datetime | None = None
    task: str | None = None
    fired: int = 0
    skipped: int = 0
    error: Mapping[str, Any] | None = None
    created: datetime | None = None


class Schedules(Protocol):
    """The schedules of a store."""

    async def add(self, schedule: Schedule) -> ScheduleStatus:
        """Make a schedule, or change the one of that name, which then goes on from now. The same again changes nothing.

        Raises: InvalidInput: no such time, zone or number, or the handler does not take the input. NotFound: no such
            handler.
        """
        ...

    async def get(self, name: str) -> ScheduleStatus:
        """A schedule. Raises: NotFound."""
        ...

    async def all(self) -> Sequence[ScheduleStatus]:
        """All of them, by name."""
        ...

    async def pause(self, name: str) -> ScheduleStatus:
        """Let nothing come of it until it is resumed. Raises: NotFound, InvalidTransition (it has ended)."""
        ...

    async def resume(self, name: str) -> ScheduleStatus:
        """Let it go on with the next time that comes; those that passed meanwhile are left out.

        Raises: NotFound, InvalidTransition (it has ended).
        """
        ...

    async def remove(self, name: str) -> None:
        """Forget it; its tasks stay. Raises: NotFound."""
        ...

    async def run(self, name: str) -> Task:
        """Submit its task now, beside its times. Raises: NotFound; as `Host.submit`."""
        ...
