"""Patterns of rules: whether a value of a call's arguments is one that a rule means.

A text is a glob. Paths are compared as they are once "." and ".." are resolved, so that "reports/*" does not mean
"reports/../secrets". A pattern says nothing about links, aliases, or what a tool makes of a text: walls do, see
sandboxes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any

from opspawn.errors import ConfigError

_MISSING = object()
_BOUNDS = {
    "min": lambda value, bound: value >= bound,
    "max": lambda value, bound: value <= bound,
    "above": lambda value, bound: value > bound,
    "below": lambda value, bound: value < bound,
}
_TABLE = {*_BOUNDS, "glob", "regex", "not"}


def check_pattern(pattern: Any, where: str) -> None:
    """Raises: ConfigError: the pattern is none; `where` names its place."""
    if isinstance(pattern, str | bool | int | float):
        return
    if isinstance(pattern, list | tuple) and pattern:
        for one in pattern:
            check_pattern(one, where)
        return
    if not isinstance(pattern, Mapping) or not pattern or not pattern.keys() <= _TABLE:
        raise ConfigError(
            f"{where} is {pattern!r:.80}, which is no pattern.",
            remedy=f"Write a glob, a value, a list of these, or a table with some of {', '.join(sorted(_TABLE))}.",
        )
    for key, given in pattern.items():
        if key == "not":
            check_pattern(given, f"{where}.not")
        elif key in _BOUNDS and (isinstance(given, bool) or not isinstance(given, int | float)):
            raise ConfigError(f"{where}.{key} is {given!r:.80}; a number is meant.")
        elif key in ("glob", "regex") and not isinstance(given, str):
            raise ConfigError(f"{where}.{key} is {given!r:.80}; a text is meant.")
        elif key == "regex":
            try:
                re.compile(given)
            except re.error as error:
                raise ConfigError(f"{where}.regex cannot be read: {error}.") from error


def matches(pattern: Any, value: Any) -> bool:
    """Whether a value is meant by a pattern that `check_pattern` let pass."""
    if isinstance(pattern, str):
        return glob(pattern, _text(value))
    if isinstance(pattern, list | tuple):
        return any(matches(one, value) for one in pattern)
    if isinstance(pattern, Mapping):
        return all(_holds(key, given, value) for key, given in pattern.items())
    return (type(value) is type(pattern) and bool(value == pattern)) or _same_number(pattern, value)


def found(arguments: Any, path: str) -> list[Any]:
    """The values at a dotted path; of a list, those of all its items. Empty where there is none."""
    values = [arguments]
    for part in path.split("."):
        inner: list[Any] = []
        for value in values:
            items = value if isinstance(value, list) else [value]
            inner += [one for item in items if (one := _inside(item, part)) is not _MISSING]
        values = inner
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def glob(pattern: str, text: str) -> bool:
    """Whether the whole text fits; "*" stands for anything. Case counts."""
    return _compiled(pattern).match(_normal(text) if "/" in pattern else text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def _normal(text: str) -> str:
    scheme, mark, path = text.rpartition("://")
    if not path:
        return text
    return f"{scheme}{mark}{posixpath.normpath(path)}" if mark else posixpath.normpath(text)


def _inside(item: Any, part: str) -> Any:
    return item.get(part, _MISSING) if isinstance(item, Mapping) else _MISSING


def _holds(key: str, given: Any, value: Any) -> bool:
    if key == "not":
        return not matches(given, value)
    if key == "glob":
        return glob(given, _text(value))
    if key == "regex":
        return re.fullmatch(given, _text(value), re.DOTALL) is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and _BOUNDS[key](value, given)


def _same_number(pattern: Any, value: Any) -> bool:
    numbers = [one for one in (pattern, value) if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == 2 and bool(pattern == value)


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
