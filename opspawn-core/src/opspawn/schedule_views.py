"""How schedules look from outside: one shape for the API and for `--json` on the command line."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from opspawn.contracts.schedule import Schedule, ScheduleStatus
from opspawn.views import Time, Wire


class ScheduleView(Wire):
    """A schedule and how it stands."""

    name: str
    state: str = Field(description="active, paused or ended.")
    run: str = Field(description="The handler of its tasks.")
    input: Any
    cron: str | None
    every_s: float | None
    at: Time | None
    zone: str
    overlap: str
    catch_up: str
    at_most: int
    queue: str
    priority: int
    labels: dict[str, str]
    source: str = Field(description="Who made it: config or api.")
    next: Time | None = Field(description="The next due time, by the clock of the store.")
    last: Time | None = Field(description="The due time that was dealt with last.")
    task: str | None = Field(description="The task that came of it last.")
    fired: int = Field(description="How many tasks came of it.")
    skipped: int = Field(description="How often it was left out, because of an overlap or since it was missed.")
    error: dict[str, Any] | None = Field(description="Why nothing came of the last time, if so.")
    created: Time | None

    @classmethod
    def of(cls, status: ScheduleStatus) -> ScheduleView:
        one = status.schedule
        return cls(
            name=one.name,
            state=status.state,
            run=one.run,
            input=one.input,
            cron=one.cron,
            every_s=one.every_s,
            at=one.at,
            zone=one.zone,
            overlap=one.overlap,
            catch_up=one.catch_up,
            at_most=one.at_most,
            queue=one.queue,
            priority=one.priority,
            labels=dict(one.labels),
            source=status.source,
            next=status.next,
            last=status.last,
            task=status.task,
            fired=status.fired,
            skipped=status.skipped,
            error=None if status.error is None else dict(status.error),
            created=status.created,
        )


def times_in_words(schedule: Schedule) -> str:
    """When it comes, in a few words."""
    if schedule.cron is not None:
        return schedule.cron if schedule.zone == "UTC" else f"{schedule.cron} ({schedule.zone})"
    if schedule.every_s is not None:
        return f"every {schedule.every_s:g} s"
    return f"at {schedule.at:%Y-%m-%d %H:%M:%S %z}"
