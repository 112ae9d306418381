"""Schedules as the store keeps them: one record each, by name, whose version decides who fires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from opspawn.agentkit.plain import plain_json
from opspawn.config.durations import span_s
from opspawn.config.settings import ScheduleSettings
from opspawn.contracts.clock import iso, iso_or_none, time_or_none
from opspawn.contracts.ids import check_id, check_labels
from opspawn.contracts.schedule import Schedule, ScheduleState, ScheduleStatus
from opspawn.contracts.store import Query, Record, Store
from opspawn.errors import InvalidInput
from opspawn.ops.engine.checks import check_place
from opspawn.ops.schedules.times import Times, times_of

KIND = "schedule"
#: The label of the tasks of a schedule.
LABEL = "schedule"
#: How many schedules a store may have: whoever fires reads all of them.
MAX_SCHEDULES = 1000
_MAX_NAME = 100
_WORDS = {"overlap": ("skip", "queue", "allow"), "catch_up": ("skip", "once", "all")}


@dataclass(frozen=True, slots=True)
class Kept:
    """A schedule with where it stands; `began` is when its times begin, `by` who fired it last.

    `updated` is when it was written last, by the store's clock.
    """

    status: ScheduleStatus
    began: datetime
    version: int = 0
    by: str = ""
    updated: datetime | None = None

    @property
    def name(self) -> str:
        return self.status.schedule.name

    @property
    def times(self) -> Times:
        return times_of(self.status.schedule, self.began)

    def but(self, *, by: str | None = None, **changes: Any) -> Kept:
        """The same with other values of its status."""
        return replace(self, status=replace(self.status, **changes), by=self.by if by is None else by)

    def record(self) -> Record:
        """As the store keeps it."""
        told = self.status
        data = {
            "schedule": to_json(told.schedule),
            "source": told.source,
            "began": iso(self.began),
            "next": iso_or_none(told.next),
            "last": iso_or_none(told.last),
            "task": told.task,
            "fired": told.fired,
            "skipped": told.skipped,
            "error": told.error,
            "by": self.by,
        }
        return Record(KIND, self.name, data, fields={"state": told.state})

    @classmethod
    def of(cls, record: Record) -> Kept:
        """From the store."""
        data = record.data
        state: ScheduleState = record.fields["state"]  # type: ignore[assignment]
        status = ScheduleStatus(
            from_json(data["schedule"]),
            state,
            data["source"],
            time_or_none(data["next"]),
            time_or_none(data["last"]),
            data["task"],
            data["fired"],
            data["skipped"],
            data["error"],
            record.created,
        )
        return cls(status, datetime.fromisoformat(data["began"]), record.version, data["by"], record.updated)


async def all_kept(store: Store) -> list[Kept]:
    """All schedules of a store. Raises: StoreError."""
    found: list[Kept] = []
    cursor: str | None = None
    while True:
        page = await store.find(KIND, Query(limit=200, cursor=cursor))
        found += map(Kept.of, page.items)
        if (cursor := page.cursor) is None:
            return found


def to_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule as plain data."""
    return {**asdict(schedule), "at": iso_or_none(schedule.at)}


def from_json(data: Mapping[str, Any]) -> Schedule:
    """From what `to_json` made."""
    known = {field.name for field in fields(Schedule)}  # a newer version may have written more
    given = {name: value for name, value in data.items() if name in known}
    return Schedule(**{**given, "at": time_or_none(data["at"])})


def checked(schedule: Schedule) -> Schedule:
    """A schedule with plain data in it, whose times can be told. Raises: InvalidInput."""
    check_id("name", schedule.name)
    times_of(schedule, datetime(2000, 1, 1, tzinfo=UTC))
    if len(schedule.name) > _MAX_NAME:
        raise InvalidInput(f"has {len(schedule.name)} characters; {_MAX_NAME} are the most.", argument="name")
    if schedule.cron is None and schedule.zone != "UTC":
        remedy = "Leave it out, or write cron."
        raise InvalidInput("goes with cron alone.", argument="zone", remedy=remedy)
    check_place(schedule.queue, schedule.priority, schedule.labels)
    if LABEL in schedule.labels:
        taken = f"has {LABEL!r}, which is the name of the schedule in each of its tasks."
        raise InvalidInput(taken, argument="labels", remedy="Leave it out, or name it otherwise.")
    check_labels({**schedule.labels, LABEL: schedule.name})
    for argument, words in _WORDS.items():
        if getattr(schedule, argument) not in words:
            told = f"is {getattr(schedule, argument)!r}; {', '.join(words[:-1])} or {words[-1]} is meant."
            raise InvalidInput(told, argument=argument)
    if isinstance(schedule.at_most, bool) or not 1 <= schedule.at_most <= MAX_SCHEDULES:
        raise InvalidInput(f"is {schedule.at_most!r}; 1 to 1000 is meant.", argument="at_most")
    try:
        plain = plain_json(schedule.input)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"is not JSON: {error}.", argument="input") from error
    return replace(schedule, input=plain, labels=dict(schedule.labels))


def of_settings(name: str, settings: ScheduleSettings) -> Schedule:
    """What a table `[schedules.NAME]` says."""
    return Schedule(
        name,
        settings.run,
        settings.input,
        cron=settings.cron,
        every_s=None if settings.every is None else span_s(settings.every),
        at=settings.at,
        zone=settings.zone,
        overlap=settings.overlap,
        catch_up=settings.catch_up,
        at_most=settings.at_most,
        enabled=settings.enabled,
        queue=settings.queue,
        priority=settings.priority,
        labels=settings.labels,
    )
