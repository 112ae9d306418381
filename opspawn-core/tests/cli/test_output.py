"""What a terminal gets to see of the words of models and tools."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from typing import Any

import pytest

from opspawn.cli.output import print_text, say

EVIL = "red \x1b[31m title \x1b]0;pwned\x07 c1 \x9b2J\x7f back\x08\r"


class Terminal:
    """Stands in for stdout or stderr; `shown` is what has arrived at the other end."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")

    def shown(self) -> str:
        self.file.flush()
        return os.read(self._master, 65536).decode().replace("\r\n", "\n")

    def close(self) -> None:
        self.file.close()
        os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_a_terminal_gets_no_control_characters_of_an_answer(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", terminal.file)

    print_text(f"{EVIL}\nnext line\tü 👩‍🚀")

    assert terminal.shown() == "red [31m title ]0;pwned c1 2J back\nnext line\tü 👩‍🚀\n"


def test_a_terminal_gets_no_control_characters_of_an_error(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal.file)

    say(EVIL)

    assert "\x1b" not in terminal.shown()


@pytest.mark.parametrize(("no_color", "dimmed"), [("", True), ("1", False)])
def test_no_color_takes_the_dim_off_what_is_said(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, no_color: str, dimmed: bool
) -> None:
    monkeypatch.setattr("sys.stderr", terminal.file)
    monkeypatch.setenv("NO_COLOR", no_color)

    say("aside", dim=True)

    assert ("\x1b[2m" in terminal.shown()) is dimmed


def test_other_programs_get_lines_as_they_are(capsys: Any) -> None:
    print_text("a\tb\nc")

    assert capsys.readouterr().out == "a\tb\nc\n"
