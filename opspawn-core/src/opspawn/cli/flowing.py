"""Text that arrives in pieces, broken at spaces where the terminal ends, not in the middle of words."""

from __future__ import annotations

import re
from collections.abc import Callable

from rich.cells import cell_len

_TOKEN = re.compile(r"\n|[^\S\n]+|\S+")
#: A word as long as this is shown before it is whole: some languages have no spaces. In columns.
_LONG = 24


class Flow:
    """Writes pieces so that lines have at most `width()` columns; 0 is without end."""

    def __init__(self, write: Callable[[str], None], width: Callable[[], int]) -> None:
        self._write = write
        self._width = width
        self._column = 0
        self._gap = ""
        self._word = ""

    def add(self, piece: str) -> None:
        """Write what is whole of a text that goes on; its last word waits for its end."""
        for token in _TOKEN.findall(piece):
            if token == "\n":
                self.flush()
                self._write("\n")
                self._column, self._gap = 0, ""
            elif token.isspace():
                self.flush()
                self._gap += token
            else:
                self._word += token
                if cell_len(self._word) > _LONG:
                    self.flush()

    def flush(self) -> None:
        """Write the word that waits."""
        if not self._word:
            return
        width, size = self._width(), cell_len(self._word)
        if width and self._column and self._column + len(self._gap) + size > width:
            self._write("\n")
            self._column, self._gap = 0, ""
        self._write(self._gap + self._word)
        self._column += len(self._gap) + size
        if width and self._column > width:
            self._column %= width
        self._gap = self._word = ""

    def end(self) -> None:
        """Write what waits, and forget where the line stood."""
        self.flush()
        self._column, self._gap = 0, ""
