"""Times as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from opspawn.errors import InvalidInput

_SPAN = re.compile(r"(\d+)(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str | None, option: str) -> datetime | None:
    """The time that an option names; None if it was not given. Raises: InvalidInput."""
    if text is None:
        return None
    if (span := _SPAN.fullmatch(text)) is not None:
        return datetime.now(UTC) - timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{option} {text!r} is no time.", remedy="Write 10m, 2h, 1d, or 2026-11-20T12:00."
        ) from error
    return moment if moment.tzinfo else moment.astimezone()
