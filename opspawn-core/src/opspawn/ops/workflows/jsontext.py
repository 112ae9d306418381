"""A JSON reader that keeps the line of every key. The one of the standard library forgets them, and lets the last of
two equal keys win. It needs no package, so that JSON definitions work with the bare core."""

from __future__ import annotations

import math
import re
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from typing import Any

from opspawn.agentkit.values import Path, dotted
from opspawn.errors import InvalidInput

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


def read_json(text: str, source: str, *, max_depth: int, max_nodes: int) -> tuple[Any, dict[Path, int]]:
    """Return the data, and the line of each key path. Raises: InvalidInput naming the line."""
    reader = _Reader(text, source, max_depth, max_nodes)
    at = reader.skip(0)
    value, at = reader.value(at, (), 0)
    at = reader.skip(at)
    if at != len(text):
        raise reader.fault(at, "Something follows the end of the JSON document.")
    return value, reader.lines


class _Reader:
    def __init__(self, text: str, source: str, max_depth: int, max_nodes: int) -> None:
        self.text = text
        self.source = source
        self.max_depth = max_depth
        self.max_nodes = max_nodes
        self.lines: dict[Path, int] = {}
        self.nodes = 0
        self._counted_to = 0
        self._line = 1

    def line(self, at: int) -> int:
        if at >= self._counted_to:
            self._line += self.text.count("\n", self._counted_to, at)
            self._counted_to = at
        return self._line

    def fault(self, at: int, message: str, path: Path = ()) -> InvalidInput:
        line = self.text.count("\n", 0, at) + 1
        fault = f"{self.source}:{line}: " + (f"{dotted(path)}: " if path else "") + message
        return InvalidInput(fault, faults=(fault,))

    def skip(self, at: int) -> int:
        found = _SPACE.match(self.text, at)
        return found.end() if found else at

    def value(self, at: int, path: Path, depth: int) -> tuple[Any, int]:
        self.nodes += 1
        if self.nodes > self.max_nodes:
            raise self.fault(at, f"A workflow may have {self.max_nodes:,} values; this one has more.")
        if depth >= self.max_depth and self.text[at : at + 1] in "[{":
            raise self.fault(at, f"This is nested deeper than {self.max_depth} levels.")
        match self.text[at : at + 1]:
            case "{":
                return self._object(at + 1, path, depth + 1)
            case "[":
                return self._array(at + 1, path, depth + 1)
            case '"':
                return self._string(at)
            case _:
                return self._scalar(at)

    def _scalar(self, at: int) -> tuple[Any, int]:
        for word, value in _WORDS.items():
            if self.text.startswith(word, at):
                return value, at + len(word)
        found = _NUMBER.match(self.text, at)
        if not found:
            what = repr(self.text[at]) if at < len(self.text) else "the end of the text"
            raise self.fault(at, f"This is not JSON: a value is expected here, not {what}.")
        number: int | float
        if found.group(1) or found.group(2):
            number = float(found.group())
            if math.isinf(number):
                raise self.fault(at, "This number is too large. Put it in quotes to have it as text.")
        elif len(found.group()) > 20 or not -(2**63) <= (number := int(found.group())) < 2**63:
            raise self.fault(at, "This number does not fit into 64 bits. Put it in quotes to have it as text.")
        return number, found.end()

    def _string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, at + 1, True)
        except JSONDecodeError as error:
            raise self.fault(error.pos, f"This is not JSON: {error.msg}.") from None
        return str(value), int(end)

    def _array(self, at: int, path: Path, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = self.skip(at)
        if self.text.startswith("]", at):
            return items, at + 1
        while True:
            here = (*path, len(items))
            self.lines[here] = self.line(at)
            item, at = self.value(at, here, depth)
            items.append(item)
            at, more = self._next(at, "]")
            if not more:
                return items, at

    def _object(self, at: int, path: Path, depth: int) -> tuple[dict[str, Any], int]:
        items: dict[str, Any] = {}
        at = self.skip(at)
        if self.text.startswith("}", at):
            return items, at + 1
        while True:
            if not self.text.startswith('"', at):
                raise self.fault(at, "This is not JSON: a key in double quotes is expected here.", path)
            start = at
            key, at = self._string(at)
            here = (*path, key)
            if key in items:
                raise self.fault(
                    start, f"The key {key!r} is here twice, first on line {self.lines[here]}. Remove one.", path
                )
            self.lines[here] = self.line(start)
            at = self.skip(at)
            if not self.text.startswith(":", at):
                raise self.fault(at, f"This is not JSON: ':' is expected after the key {key!r}.", path)
            items[key], at = self.value(self.skip(at + 1), here, depth)
            at, more = self._next(at, "}")
            if not more:
                return items, at

    def _next(self, at: int, end: str) -> tuple[int, bool]:
        """Past a comma (more follows) or the closing bracket (none does)."""
        at = self.skip(at)
        if self.text.startswith(end, at):
            return at + 1, False
        if not self.text.startswith(",", at):
            raise self.fault(at, f"This is not JSON: ',' or '{end}' is expected here.")
        return self.skip(at + 1), True
