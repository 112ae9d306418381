"""References of a plan's inputs to what earlier steps gave: `${find}`, `${find.items[0].name}`.

A text that is exactly one reference becomes the value itself; within a longer text it becomes text. `$${` stands for
`${`. What is put in is data and never read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from opspawn.agentkit.plain import as_text

_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?P<id>[A-Za-z][A-Za-z0-9_-]*)(?P<path>(?:\.[\w-]+|\[\d+\])*)\}")
_PART = re.compile(r"\.([\w-]+)|\[(\d+)\]")
_SHOWN = 200  # characters of a value in which nothing was found


class Unresolved(Exception):
    """A reference leads nowhere; the text says where it ends."""


def referred(value: Any) -> Iterator[str]:
    """The ids of the steps that a value refers to, in order, perhaps several times."""
    if isinstance(value, str):
        for found in _REFERENCE.finditer(value):
            if found["id"]:
                yield found["id"]
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from referred(one)
    elif isinstance(value, list):
        for one in value:
            yield from referred(one)


def resolved(value: Any, results: Mapping[str, Any]) -> Any:
    """The value with results in place of references. Raises: Unresolved."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and whole["id"]:
            return _found(whole, results)
        return _REFERENCE.sub(lambda found: "${" if found["escape"] else as_text(_found(found, results)), value)
    if isinstance(value, Mapping):
        return {name: resolved(one, results) for name, one in value.items()}
    if isinstance(value, list):
        return [resolved(one, results) for one in value]
    return value


def _found(reference: re.Match[str], results: Mapping[str, Any]) -> Any:
    value = results[reference["id"]]
    for part in _PART.finditer(reference["path"]):
        name, index = part.groups()
        try:
            value = value[int(index)] if index is not None else _member(value, name)
        except (LookupError, TypeError) as error:
            given = as_text(results[reference["id"]])
            given = given if len(given) <= _SHOWN else f"{given[:_SHOWN]}…"
            words = f"{reference[0]} leads nowhere: there is no {part[0]!r}. {reference['id']!r} gave: {given}"
            raise Unresolved(words) from error
    return value


def _member(value: Any, name: str) -> Any:
    """`.0` of a list is its first, since models write that, too."""
    return value[int(name)] if isinstance(value, list) and name.isdigit() else value[name]
