"""Spans of time as settings and options write them: 90s, 10m, 2h, 30d."""

from __future__ import annotations

import re

PATTERN = r"^[1-9][0-9]{0,8}(s|m|h|d)$"
_SPAN = re.compile(PATTERN)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def span_s(text: str) -> float | None:
    """The seconds of a span; None if the text is none."""
    return float(text[:-1]) * _SECONDS[text[-1]] if _SPAN.fullmatch(text) else None
