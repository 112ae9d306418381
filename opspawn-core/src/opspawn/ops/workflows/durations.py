"""Durations as people write them: `250ms`, `10s`, `1h30m`. A bare number is refused, because nobody sees its unit."""

from __future__ import annotations

import re
from typing import Any

#: The published pattern; the units come from large to small, each at most once.
DURATION_PATTERN = (
    r"^(?=.)([0-9]+d)?([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$"
)
_WHOLE = re.compile(
    r"(?=.)(?:(\d+)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z",
    re.ASCII,
)
_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
MAX_S = 366 * 86400.0


def parse_duration(value: Any) -> float:
    """Return seconds, above 0 and up to 366 days.

    Raises:
        ValueError: it is not a duration; the text says why and how to write it.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{value} has no unit. Write '{value}s' for seconds or '{value}m' for minutes.")
    if not isinstance(value, str):
        raise ValueError("A duration is text such as '30s', '10m' or '1h30m'.")
    if re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError(f"{value!r} has no unit. Write '{value}s' for seconds or '{value}m' for minutes.")
    found = _WHOLE.match(value) if len(value) <= 40 else None
    if not found:
        raise ValueError(
            f"{value[:40]!r} is not a duration. Write it as '250ms', '30s', '10m' or '1h30m' (units d h m s ms)."
        )
    seconds = sum(float(number) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True) if number)
    if not 0 < seconds <= MAX_S:
        raise ValueError(f"{value!r} is out of range. A duration is more than nothing and at most 366 days.")
    return seconds
