"""Tables of the command line, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.cli.tables import GrowingTable, print_table

ID = "t-0123456789abcdef01234567"
ROW = [ID, "agent/helper", "succeeded", "0", "2026-11-20 09:12:45", "Open Settings, API tokens, and press Reset. " * 2]
HEAD = ["id", "handler", "state", "failures", "created", "result"]


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int, head: list[str], rows: list[list[Any]]) -> list[str]:
    """The lines of a table as a terminal of a width shows them, without colours."""
    return printed(monkeypatch, width, lambda: print_table(head, rows))


def printed(monkeypatch: pytest.MonkeyPatch, width: int, print_it: Callable[[], object]) -> list[str]:
    master, slave = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        print_it()
    shown = b""
    with suppress(OSError):  # a terminal whose other end is closed has no more to say
        while part := os.read(master, 65536):
            shown += part
    os.close(master)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.decode().splitlines()]


def test_a_table_that_grows_keeps_the_columns_that_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def grow() -> None:
        table = GrowingTable(["server", "state", "fault"], [["quick", "connecting", "it did not answer in time"]])
        table.add(["quick", "ready", None])
        table.add(["slow", "failed", "it did not answer in time, and what it said was long"])

    shown = printed(monkeypatch, 60, grow)

    assert [line.rstrip() for line in shown] == [
        "SERVER  STATE       FAULT",
        "quick   ready",
        "slow    failed      it did not answer in tim…",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_row_is_one_line_with_its_id_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    shown = on_terminal(monkeypatch, width, HEAD, [ROW, [*ROW[:3], "2", *ROW[4:]]])

    assert len(shown) == 3
    assert shown[1].startswith(ID)
    assert max(map(len, shown)) <= width


@pytest.mark.parametrize(("width", "heads"), [(60, HEAD[:4]), (80, HEAD)])
def test_columns_without_room_are_left_out_and_states_and_times_stay_whole(
    monkeypatch: pytest.MonkeyPatch, width: int, heads: list[str]
) -> None:
    row = [ID, "workflow/greet", "succeeded", "2", datetime.now(UTC) - timedelta(days=3), ROW[5]]
    shown = on_terminal(monkeypatch, width, HEAD, [row])

    assert shown[0].lower().split() == heads
    assert re.search(r" succeeded +2", shown[1])
    assert len(heads) < len(HEAD) or re.search(r" \d\d-\d\d \d\d:\d\d ", shown[1])


def test_a_column_without_anything_is_left_out_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, 80, HEAD, [ROW])

    assert "FAILURES" not in shown[0]
    assert "Open" in shown[1]


def test_where_there_is_room_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_terminal(monkeypatch, 120, HEAD, [[*ROW[:4], datetime.now(UTC), ""]])

    assert shown[0].lower().split() == HEAD
    assert re.search(r" succeeded +0 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown[1])


def test_a_time_of_today_is_shown_without_its_date_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    shown = on_terminal(monkeypatch, 20, ["id", "created"], [["a", now], ["b", now - timedelta(days=2)]])

    assert re.fullmatch(r"a +\d\d:\d\d:\d\d *", shown[1])
    assert re.fullmatch(r"b +\d\d-\d\d \d\d:\d\d *", shown[2])


def test_other_programs_get_whole_values_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEAD, [ROW])

    assert capsys.readouterr().out.splitlines()[1].split("\t")[0] == ID
