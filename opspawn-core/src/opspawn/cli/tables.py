"""Tables of the command line: whole and tab-separated for other programs, fitted for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from opspawn.cli.output import say

_STYLES = {
    "succeeded": "green",
    "loaded": "green",
    "running": "cyan",
    "failed": "red",
    "clash": "red",
    "in_doubt": "yellow",
    "paused": "yellow",
    "blocked": "yellow",
    "cancelled": "dim",
}
#: Cells of up to so many characters are never cut: a state, a number, a time.
_WHOLE = 11
_GAP = 2


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "") -> None:
    """Print a table on stdout; for other programs the whole of it, with tabs.

    On a terminal a row is one line. The first column stays whole, for an id that is cut cannot be copied, and so do
    states and times; long texts give way. Where that does not do, times are written shorter, columns in which nothing
    stands are left out, and then the last ones.

    None prints as an empty cell. Without rows nothing is printed on stdout, and `empty`, if any, is said on stderr.
    """
    given = [list(row) for row in rows]
    if not given:
        if empty:
            say(empty)
        return
    GrowingTable(columns, given).add(*given)


class GrowingTable:
    """A table as `print_table` prints it, whose rows are printed as they become known."""

    def __init__(self, columns: Sequence[str], like: Sequence[Sequence[Any]]) -> None:
        """Print the heads. `like` are rows as wide as those to come: on a terminal, columns are fitted to them."""
        heads = [column.upper() for column in columns]
        self._terminal = sys.stdout.isatty()
        self._time = _whole_time
        if self._terminal:
            self._widths = self._fit(heads, like)
        self._print([heads], head=True)

    def add(self, *rows: Sequence[Any]) -> None:
        """Print rows, as wide as the columns are."""
        self._print(_cells(rows, self._time))

    def _fit(self, heads: Sequence[str], like: Sequence[Sequence[Any]]) -> dict[int, int]:
        width, cells = _console().width, _cells(like, _whole_time)
        widths = _widths(heads, cells, range(len(heads)))
        if _taken(widths) > width:
            self._time, cells = _short_time, _cells(like, _short_time)
            told = [at for at in range(len(heads)) if at == 0 or any(row[at] not in ("", "0") for row in cells)]
            widths = _widths(heads, cells, told)
            while len(widths) > 1 and _taken(widths) > width:
                widths.popitem()
        _widen(widths, heads, cells, width - _taken(widths))
        return widths

    def _print(self, lines: Sequence[Sequence[str]], *, head: bool = False) -> None:
        if not self._terminal:
            click.echo("\n".join("\t".join(cells) for cells in lines))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=False)
        for width in self._widths.values():
            table.add_column(no_wrap=True, overflow="ellipsis", width=width)
        for cells in lines:
            styles = {at: "bold" if head else _STYLES.get(cells[at], "") for at in self._widths}
            table.add_row(*(Text(cells[at], style=style) for at, style in styles.items()))
        _console().print(table, crop=False, overflow="ignore")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")))


def _cells(rows: Sequence[Sequence[Any]], time: Callable[[datetime], str]) -> list[list[str]]:
    return [["" if cell is None else _cell(cell, time) for cell in row] for row in rows]


def _wanted(heads: Sequence[str], cells: Sequence[Sequence[str]], at: int) -> int:
    from rich.cells import cell_len

    return max(cell_len(text) for text in (heads[at], *(row[at] for row in cells)))


def _widths(heads: Sequence[str], cells: Sequence[Sequence[str]], told: Iterable[int]) -> dict[int, int]:
    """How wide each of these columns is at the least."""
    wanted = {at: _wanted(heads, cells, at) for at in told}
    whole = {at for at, want in wanted.items() if at == 0 or want <= _WHOLE or all(_is_time(row[at]) for row in cells)}
    return {at: want if at in whole else len(heads[at]) for at, want in wanted.items()}


def _taken(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _widen(widths: dict[int, int], heads: Sequence[str], cells: Sequence[Sequence[str]], spare: int) -> None:
    """Give the room that is left to the columns that want more, those that want least first."""
    for want, at in sorted((_wanted(heads, cells, at), at) for at in widths):
        more = max(0, min(want - widths[at], spare))
        widths[at] += more
        spare -= more


def _is_time(text: str) -> bool:
    return len(text) == 19 and text[4] == "-" and text[13] == ":"


def _cell(value: Any, time: Callable[[datetime], str]) -> str:
    if isinstance(value, datetime):
        return time(value.astimezone())
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return " ".join(text.split())


def _whole_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _short_time(moment: datetime) -> str:
    """Of today the time, of this year the day and time, else the day."""
    age = datetime.now().astimezone() - moment
    if age < timedelta(days=1) and moment.date() == datetime.now().astimezone().date():
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%m-%d %H:%M" if abs(age) < timedelta(days=180) else "%Y-%m-%d")
