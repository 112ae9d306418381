"""One log line as an object, as JSON and as text, with the same keys for the process's words and the journal's."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opspawn.config.secrets import masked, redact
from opspawn.contracts.clock import iso

#: The keys that every line has, in this order; the last five are null where they do not apply.
KEYS = ("time", "level", "message", "agent", "session", "task", "attempt", "error_type")

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}


def log_object(
    time: datetime, level: str, message: str, extra: Mapping[str, Any], exception: tuple[str, str] | None = None
) -> dict[str, Any]:
    """A log line as an object of JSON values, redacted.

    Args:
        extra: agent, session, task and error_type are taken from it; the rest follows after them.
        exception: error type and traceback.
    """
    line: dict[str, Any] = {"time": iso(time), "level": level, "message": redact(message)}
    line |= {key: extra.get(key) for key in KEYS[3:]}
    if exception is not None:
        line["error_type"] = line["error_type"] or exception[0]
    line |= {key: masked(value, key) for key, value in extra.items() if key not in KEYS and value is not None}
    if exception is not None:
        line["exception"] = exception[1]
    return line


def json_line(line: Mapping[str, Any]) -> str:
    """The object on one line; values that JSON does not know appear as text."""
    return json.dumps(line, ensure_ascii=False, default=lambda value: redact(str(value)))


def text_line(line: Mapping[str, Any], *, colour: bool = False, date: bool = False) -> str:
    """The object for people: local time (with its date, if asked), level, message, then the rest as key=value."""
    time = datetime.fromisoformat(line["time"]).astimezone().strftime(f"{'%Y-%m-%d ' if date else ''}%H:%M:%S.%f")[:-3]
    level = str(line["level"])
    rest = [
        f"{key}={_shown(value)}"
        for key, value in line.items()
        if key not in (*KEYS[:3], "exception") and value is not None
    ]
    parts = [
        _dim(time, colour),
        _paint(f"{level.upper():<7}", _COLOURS.get(level, "0"), colour),
        _one_line(line["message"]),
    ]
    if rest:
        parts.append(_dim(" ".join(rest), colour))
    text = " ".join(parts)
    return f"{text}\n{line['exception']}" if line.get("exception") else text


def traceback_text(error: BaseException) -> str:
    """The plain traceback of an error, redacted.

    Log lines carry it as `exception=...` and never the error object: a sink that is not ours would print the values
    of variables.
    """
    return redact("".join(traceback.format_exception(error)).rstrip())


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if text and text.isprintable() and " " not in text else json.dumps(text, ensure_ascii=False)


def _one_line(text: Any) -> str:
    # Escape sequences in what a tool or model said must not reach a terminal.
    return "".join(char if char.isprintable() else "\\n" if char == "\n" else " " for char in str(text))


def _dim(text: str, colour: bool) -> str:
    return _paint(text, "2", colour)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
