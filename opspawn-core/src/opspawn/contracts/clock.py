"""What time it is: handed to whoever needs it, so that tests can bring a time of their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol


class Clock(Protocol):
    """Two readings of time. To wait is the event loop's part: whoever replaces one replaces both.

    `virtual` says that time passes only in the event loop, while nothing there can go on: nobody may wait in a thread.
    """

    @property
    def virtual(self) -> bool: ...

    def time(self) -> float:
        """Seconds since 1970. It may step, and differs between machines: only the store's counts for what is due."""
        ...

    def monotonic(self) -> float:
        """Seconds from anywhere. It never steps, and counts while the machine is suspended."""
        ...


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, "2026-01-31T09:30:00.125000Z": the one form of times in JSON and in logs.

    All are of one length, so they sort as texts.
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_or_none(moment: datetime | None) -> str | None:
    """As `iso`, of a time that there may be."""
    return None if moment is None else iso(moment)


def time_or_none(text: str | None) -> datetime | None:
    """The time that ISO 8601 means, if there is one."""
    return None if text is None else datetime.fromisoformat(text)


_since_boot = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()
    virtual: Final = False

    time = staticmethod(time.time)
    monotonic = staticmethod(_since_boot)


SYSTEM_CLOCK: Final = SystemClock()
