"""Tables of the command line, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import re

import pytest

from opspawn.cli.output import print_table

ID = "t-0123456789abcdef01234567"
ROW = [ID, "agent/helper", "succeeded", "0", "2026-11-20 09:12:45", "Open Settings, API tokens, and press Reset. " * 2]
HEAD = ["id", "handler", "state", "failures", "created", "result"]


def test_a_narrow_terminal_never_cuts_the_id_that_a_reader_must_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        print_table(HEAD, [ROW])
        terminal.flush()
        shown = os.read(master, 65536).decode()
    os.close(master)

    assert ID in shown
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in shown.splitlines()) <= 80


def test_other_programs_get_whole_values_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEAD, [ROW])

    assert capsys.readouterr().out.splitlines()[1].split("\t")[0] == ID
