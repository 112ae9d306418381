"""The terminal while something runs: pieces that stream, lines between them, and a question that waits below.

Answers go to stdout, all else to stderr. On a terminal both are the same screen, so that whoever writes must know where
the other has stopped: only this class does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from opspawn.cli.flowing import Flow
from opspawn.cli.output import harmless

Part = tuple[str, str]
"""A text and its style, as rich names them."""

#: The width for other programs, and the least that is used.
_WIDTH, _LEAST = 100, 30


class Screen:
    """What is written, and where the cursor stands. `streams` is whether pieces of answers are shown as they come."""

    def __init__(self) -> None:
        plain = bool(os.environ.get("NO_COLOR"))
        self.streams = sys.stdout.isatty()
        self.talks_to_people = sys.stderr.isatty()
        self._out = Console(file=sys.stdout, highlight=False, no_color=plain)
        self._talk = Console(file=sys.stderr, highlight=False, no_color=plain)
        self._answer = Flow(self._write_out, lambda: self._out.width if self.streams else 0)
        self._thoughts = Flow(self._write_thought, lambda: self.width)
        self._open: Literal["text", "thought"] | None = None
        self._asking: list[Part] | None = None

    @property
    def width(self) -> int:
        """How many columns a line has."""
        return max(_LEAST, self._talk.width) if self.talks_to_people else _WIDTH

    def text(self, piece: str) -> None:
        """Add to the answer that streams."""
        self._begin("text")
        self._answer.add(harmless(piece, sys.stdout))

    def thought(self, piece: str) -> None:
        """Add to the thoughts that stream; they are for people only."""
        if self.talks_to_people:
            self._begin("thought")
            self._thoughts.add(harmless(piece, sys.stderr))

    def end_line(self) -> None:
        """Begin a new line, if something stands on this one."""
        if self._open == "text":
            self._answer.end()
            self._write_out("\n")
        elif self._open == "thought":
            self._thoughts.end()
            self._talk.print()
        self._open = None

    def line(self, *parts: Part, fold: bool = False) -> None:
        """Write a line of talk; `fold` cuts it where the screen ends."""
        self.end_line()
        if self._asking is not None and self.talks_to_people:
            self._talk.file.write("\r\x1b[K")  # what is asked goes below the line
        text = Text.assemble(*((harmless(words, sys.stderr), style) for words, style in parts))
        if fold and cell_len(text.plain) > self.width - 1:
            text.truncate(self.width - 1, overflow="ellipsis")
        self._talk.print(text, soft_wrap=fold or not self.talks_to_people)
        if self._asking is not None:
            self._ask(self._asking)

    def ask(self, *parts: Part) -> None:
        """Write what is asked, and keep it at the bottom until `answered`."""
        self.end_line()
        self._asking = list(parts)
        self._ask(self._asking)

    def answered(self, *, typed: bool) -> None:
        """The question below is over; the end of line that was typed has moved the cursor already."""
        if self._asking is not None and not typed:
            self._talk.print()
        self._asking = None

    def _write_out(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _write_thought(self, text: str) -> None:
        self._talk.print(Text(text, "dim italic"), end="", soft_wrap=True)

    def _begin(self, what: Literal["text", "thought"]) -> None:
        if self._open != what:
            self.end_line()
            self._open = what

    def _ask(self, parts: Sequence[Part]) -> None:
        text = Text.assemble(*((harmless(words, sys.stderr), style) for words, style in parts))
        self._talk.print(text, end="", soft_wrap=True)
        self._talk.file.flush()


def one_line(text: str) -> str:
    """The text on one line, spaces for what ended lines."""
    return " ".join(text.split())
