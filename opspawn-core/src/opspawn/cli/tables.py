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
    cells = _cells(given, _whole_time)
    if not cells:
        if empty:
            say(empty)
        return
    heads = [column.upper() for column in columns]
    if not sys.stdout.isatty():
        click.echo("\n".join("\t".join(row) for row in [heads, *cells]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
    widths = _widths(heads, cells, range(len(heads)))
    if _taken(widths) > console.width:
        cells = _cells(given, _short_time)
        told = [at for at in range(len(heads)) if at == 0 or any(row[at] not in ("", "0") for row in cells)]
        widths = _widths(heads, cells, told)
        while len(widths) > 1 and _taken(widths) > console.width:
            widths.popitem()
    _widen(widths, heads, cells, console.width - _taken(widths))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for at, width in widths.items():
        table.add_column(heads[at], no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*(Text(row[at], style=_STYLES.get(row[at], "")) for at in widths))
    console.print(table, crop=False, overflow="ignore")


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
