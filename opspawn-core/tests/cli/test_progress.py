"""A progress bar is on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
from contextlib import suppress
from pathlib import Path

import pytest

from opspawn.cli import main


def shown(monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    """What a command writes on stderr, which is a terminal."""
    master, slave = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        main(["memory", *args], prog_name="opspawn", standalone_mode=False)
    told = b""
    with suppress(OSError):  # a terminal whose other end is closed has no more to say
        while part := os.read(master, 65536):
            told += part
    os.close(master)
    return told.decode()


def test_compacting_shows_a_bar_on_a_terminal_and_none_beside_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown(monkeypatch, "add", "Ada likes tea.", "-n", "user:ada")
    bar = shown(monkeypatch, "compact")
    assert "Compacting " in bar
    assert "0%" in bar
    assert "Compacted: " in bar
    assert shown(monkeypatch, "compact", "--json") == ""
    assert '"before"' in capsys.readouterr().out
