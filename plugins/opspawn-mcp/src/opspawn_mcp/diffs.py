"""What has changed in a definition, for people who have to say whether it may."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from opspawn_mcp.listing import Definition


def written(definition: Definition) -> str:
    """A definition as text, one thing a line, with everything that a model is shown."""
    return "\n".join(_lines(definition))


def difference(then: Definition, now: Definition) -> str:
    """What was and what is, line by line: "-" was, "+" is."""
    lines = difflib.unified_diff(list(_lines(then)), list(_lines(now)), "approved", "now", lineterm="", n=2)
    return "\n".join(visible(line) for line in lines)


def visible(text: str) -> str:
    """The text with what one cannot see made visible, lest a definition say to a model what no human reads."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\u{{{ord(char):04x}}}" for char in text)


def _lines(definition: Definition) -> Iterator[str]:
    for key, value in definition.to_json().items():
        if value in ("", None, {}):
            continue
        yield f"{key}:"
        text = value if isinstance(value, str) else _pretty(value)
        for line in text.split("\n"):
            yield f"  {visible(line)}"


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
