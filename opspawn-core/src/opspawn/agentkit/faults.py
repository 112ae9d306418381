"""What is wrong with arguments, in words that name the argument, what is wrong and what would fit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

#: How much of a wrong value is repeated, in characters.
_SHOWN = 60
_MISSING = object()
#: What pydantic puts before the words of a validator, and the subject of its own sentences ("Input", "String", "List").
_OWN = re.compile(r"^(Value error|Assertion failed), ")
_SUBJECT = re.compile(r"^\w+ should ")


def faults_of(error: ValidationError, arguments: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    """One line per place that does not fit; of a union, what each member would take."""
    found: dict[str, tuple[list[str], Any]] = {}
    for fault in error.errors(include_url=False):
        place, value = _place(fault["loc"], arguments)
        words = _words(fault, place, known)
        found.setdefault(".".join(place) or "arguments", ([], value))[0].append(words)
    return [f"{place}: {_joined(words, value)}" for place, (words, value) in found.items()]


def _place(location: tuple[int | str, ...], arguments: Any) -> tuple[list[str], Any]:
    """The way to the fault in what was sent, and what is there. pydantic's own also names members of unions."""
    place: list[str] = []
    value: Any = arguments
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(value, Mapping) and (part in value or last):
            value = value.get(part, _MISSING)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:  # the name of a type
            continue
        place.append(str(part))
    return place, value


def _words(fault: Any, place: Sequence[str], known: Sequence[str]) -> str:
    if fault["type"] == "extra_forbidden":
        fits = f"; known: {', '.join(known) or 'none'}" if len(place) == 1 else ""
        return f"there is no such argument{fits}"
    if fault["type"] == "missing":
        return "is missing"
    text = _OWN.sub("", str(fault["msg"]))
    return _SUBJECT.sub("should ", text)


def _joined(words: Sequence[str], value: Any) -> str:
    first, *others = dict.fromkeys(words)
    if first == "is missing" or first.startswith("there is no such"):
        return first
    return f"{' or '.join([first, *(one.removeprefix('should be ') for one in others)])}, not {_short(value)}"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
