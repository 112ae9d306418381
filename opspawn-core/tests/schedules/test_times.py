"""When a schedule is due: cron in a time zone with its summer time, intervals, one time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from opspawn.contracts.schedule import Schedule
from opspawn.errors import InvalidInput
from opspawn.ops.schedules.times import Times, times_of

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def times(cron: str | None = None, zone: str = "Europe/Berlin", **other: object) -> Times:
    return times_of(replace(Schedule("s", "function/f", cron=cron, zone=zone), **other), BEGAN)  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(of: Times, begin: str, count: int) -> list[str]:
    found, moment = [], utc(begin)
    for _ in range(count):
        coming = of.after(moment)
        assert coming is not None
        moment = coming
        found.append(f"{moment:%m-%d %H:%M:%S}")
    return found


def test_cron_counts_in_its_time_zone() -> None:
    assert following(times("0 9 * * MON-FRI"), "2026-06-05T06:59:59", 3) == [
        "06-05 07:00:00",
        "06-08 07:00:00",
        "06-09 07:00:00",
    ]


def test_a_sixth_field_in_front_is_seconds() -> None:
    assert following(times("*/20 * * * * *"), "2026-06-05T06:59:30", 3) == [
        "06-05 06:59:40",
        "06-05 07:00:00",
        "06-05 07:00:20",
    ]


def test_a_time_that_summer_time_skips_comes_right_after_it() -> None:
    """On 2026-03-29 there is no 02:30 in Berlin; it comes at 03:00, and the next day at 02:30 again."""
    assert following(times("30 2 * * *"), "2026-03-28T12:00:00", 2) == ["03-29 01:00:00", "03-30 00:30:00"]


def test_a_time_that_is_there_twice_comes_once() -> None:
    """On 2026-10-25 there are two 02:30 in Berlin; whatever moment between them somebody asks from."""
    of = times("30 2 * * *")

    assert following(of, "2026-10-24T12:00:00", 2) == ["10-25 00:30:00", "10-26 01:30:00"]
    assert following(of, "2026-10-25T01:10:00", 1) == ["10-26 01:30:00"]


def test_what_comes_every_hour_comes_in_both_of_the_same_name() -> None:
    assert following(times("0 * * * *"), "2026-10-24T23:30:00", 3) == [
        "10-25 00:00:00",
        "10-25 01:00:00",
        "10-25 02:00:00",
    ]


@pytest.mark.parametrize("of", [times("*/7 * * * *"), times("30 2 * * *"), times(every_s=90.0), times("15 10 * * *")])
def test_the_newest_of_a_span_are_those_that_come_one_after_the_other(of: Times) -> None:
    first = of.after(utc("2026-10-20T00:00:00"))
    assert first is not None
    every, until = [first], utc("2026-10-27T00:00:00")
    while (coming := of.after(every[-1])) is not None and coming <= until and len(every) < 400:
        every.append(coming)

    assert of.newest(first, every[-1], 1) == every[-1:]
    assert of.newest(first, every[-1], 3) == every[-3:]
    assert of.newest(first, first, 3) == [first]
    assert all(one < other for one, other in pairwise(every))


def test_an_interval_begins_with_the_schedule_and_one_time_comes_once() -> None:
    assert following(times(every_s=3600.0), "2026-01-01T00:00:00", 2) == ["01-01 01:00:00", "01-01 02:00:00"]
    once = times(at=utc("2026-02-01T00:00:00"))
    assert following(once, "2026-01-31T00:00:00", 1) == ["02-01 00:00:00"]
    assert once.after(utc("2026-02-01T00:00:00")) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "does not say when"),
        ({"cron": "* * * * *", "every_s": 5.0}, "has a cron expression and an interval"),
        ({"cron": "61 * * * *"}, r"cron is '61 \* \* \* \*': bad minute"),
        ({"cron": "* * *"}, "wrong number of fields"),
        ({"cron": "0 0 30 2 *"}, "day-of-month"),
        ({"cron": "* * * * *", "zone": "Mars/Olympus"}, "zone is 'Mars/Olympus', which is no time zone here"),
        ({"every_s": 0.5}, "every_s is 0.5; seconds from 1 to a year"),
        ({"at": datetime(2026, 2, 1)}, "at has no offset"),
    ],
)
def test_what_is_no_time_is_refused_in_one_line(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        times(**given)  # type: ignore[arg-type]
