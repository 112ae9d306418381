"""Collects everything that is wrong with a definition, so that its author mends it in one go."""

from __future__ import annotations

from collections.abc import Mapping

from opspawn.agentkit.values import Path, dotted
from opspawn.errors import InvalidInput

#: A file with more faults than this is the wrong file; the rest would only scroll the first ones away.
MAX_FAULTS = 50


class Faults:
    """The faults of one source, each a line "FILE:LINE: KEY.PATH: what is wrong and what to do"."""

    def __init__(self, source: str, lines: Mapping[Path, int] | None = None) -> None:
        self.source = source
        self._lines = dict(lines or {})
        self._found: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: Path, message: str) -> None:
        """Note a fault at a key path; the line is that of the key, or of the nearest key around it."""
        line = self._line(path)
        place = f"{self.source}:{line}" if self._lines else self.source
        where = f" {dotted(path)}:" if path else ""
        if len(self._found) < MAX_FAULTS:
            self._found.setdefault(" ".join(f"{place}:{where} {message}".split()), line)

    def raise_if_any(self) -> None:
        """Raise all faults, by line, as one `InvalidInput`; its message is the first, and says how many there are."""
        if not self._found:
            return
        faults = tuple(sorted(self._found, key=lambda fault: self._found[fault]))
        more = f" (the first of {len(faults)} faults)" if len(faults) > 1 else ""
        raise InvalidInput(faults[0] + more, faults=faults)

    def _line(self, path: Path) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)
