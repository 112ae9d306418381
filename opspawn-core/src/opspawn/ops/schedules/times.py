"""The due times of a schedule: by cron in a time zone, by an interval, or one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from opspawn.contracts.schedule import Schedule
from opspawn.errors import InvalidInput


class Times(Protocol):
    """Due times, aware UTC."""

    def after(self, moment: datetime) -> datetime | None:
        """The first behind a moment; None if there is none."""
        ...

    def newest(self, first: datetime, until: datetime, most: int) -> list[datetime]:
        """The newest `most` from the due time `first` to `until`, both included, oldest first; at least one."""
        ...


class Cron:
    """By a cron expression, as Debian's cron understands it, with seconds as an optional sixth field in front."""

    def __init__(self, expression: str, zone: ZoneInfo) -> None:
        """Raises: InvalidInput."""
        from cronsim import CronSimError

        self._expression = expression
        self._zone = zone
        try:
            found = self.after(datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            words = f"is {expression!r}: {str(error).lower()}."
            remedy = 'Write "MINUTE HOUR DAY MONTH WEEKDAY", e.g. "0 3 * * MON-FRI", or six fields, from SECOND on.'
            raise InvalidInput(words, argument="cron", remedy=remedy) from None
        if found is None:
            raise InvalidInput(f"is {expression!r}: there is no such time.", argument="cron")

    def after(self, moment: datetime) -> datetime | None:
        from cronsim import CronSim

        for local in CronSim(self._expression, moment.astimezone(self._zone)):
            if (found := local.astimezone(UTC)) > moment:  # in the hour that is there twice, it begins with the first
                return found
        return None

    def newest(self, first: datetime, until: datetime, most: int) -> list[datetime]:
        from cronsim import CronSim

        # Without microseconds it would begin before `until`, and leave that out.
        start = until.replace(microsecond=until.microsecond or 1).astimezone(self._zone)
        found: list[datetime] = []
        for local in CronSim(self._expression, start, reverse=True):
            if (moment := local.astimezone(UTC)) < first or len(found) == most:
                break
            if moment <= until and (not found or moment < found[0]):
                found.insert(0, moment)
        return found or [first]


class Interval:
    """Every so many seconds, from a first time on."""

    def __init__(self, every_s: float, first: datetime) -> None:
        self._every = timedelta(seconds=every_s)
        self._first = first

    def after(self, moment: datetime) -> datetime | None:
        if moment < self._first:
            return self._first
        return self._first + ((moment - self._first) // self._every + 1) * self._every

    def newest(self, first: datetime, until: datetime, most: int) -> list[datetime]:
        count = max(0, (until - first) // self._every)
        return [first + n * self._every for n in range(max(0, count - most + 1), count + 1)]


class Once:
    """One time."""

    def __init__(self, at: datetime) -> None:
        self._at = at.astimezone(UTC)

    def after(self, moment: datetime) -> datetime | None:
        return self._at if self._at > moment else None

    def newest(self, first: datetime, until: datetime, most: int) -> list[datetime]:
        return [first]


#: How the times of a schedule are told: the field, and what everybody calls it.
_WAYS = {"cron": "a cron expression", "every_s": "an interval", "at": "one time"}


def times_of(schedule: Schedule, began: datetime) -> Times:
    """The due times of a schedule that was made at `began`. Raises: InvalidInput."""
    given = [words for name, words in _WAYS.items() if getattr(schedule, name) is not None]
    if len(given) != 1:
        told = f"has {' and '.join(given)}" if given else "does not say when"
        raise InvalidInput(
            f"The schedule {schedule.name!r} {told}.", remedy=f"Give one of {', '.join(_WAYS.values())}."
        )
    zone = _zone(schedule.zone)
    if schedule.cron is not None:
        return Cron(schedule.cron, zone)
    if schedule.every_s is not None:
        if not 1 <= schedule.every_s <= 366 * 86400:
            words = f"is {schedule.every_s:g}; seconds from 1 to a year are meant."
            raise InvalidInput(words, argument="every_s")
        return Interval(schedule.every_s, began + timedelta(seconds=schedule.every_s))
    assert schedule.at is not None
    if schedule.at.tzinfo is None:
        raise InvalidInput("has no offset.", argument="at", remedy="Write e.g. 2026-12-01T09:00:00+01:00.")
    return Once(schedule.at)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        remedy = 'Write e.g. "Europe/Berlin"; where the system has no time zones, install the package tzdata.'
        raise InvalidInput(f"is {name!r}, which is no time zone here.", argument="zone", remedy=remedy) from None
