"""Tables of the command line: whole and tab-separated for other programs, fitted for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
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

    On a terminal a row is one line. The first column stays whole, for an id that is cut cannot be copied; long texts
    give way; columns in which nothing stands are left out, and the last ones if there is no room.

    None prints as an empty cell. Without rows nothing is printed on stdout, and `empty`, if any, is said on stderr.
    """
    fitted = sys.stdout.isatty()
    cells = [["" if cell is None else _cell(cell, fitted) for cell in row] for row in rows]
    if not cells:
        if empty:
            say(empty)
        return
    heads = [column.upper() for column in columns]
    if not fitted:
        click.echo("\n".join("\t".join(row) for row in [heads, *cells]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    widths = _widths(heads, cells, console.width)
    for at, width in widths.items():
        table.add_column(heads[at], no_wrap=True, overflow="ellipsis", width=width)
    for row in cells:
        table.add_row(*(Text(row[at], style=_STYLES.get(row[at], "")) for at in widths))
    console.print(table, crop=False, overflow="ignore")


def _widths(heads: Sequence[str], cells: Sequence[Sequence[str]], room: int) -> dict[int, int]:
    """The columns to print, and how wide each is."""
    from rich.cells import cell_len

    told = [at for at in range(len(heads)) if at == 0 or any(row[at] not in ("", "0") for row in cells)]
    wanted = {at: max(cell_len(text) for text in (heads[at], *(row[at] for row in cells))) for at in told}
    widths = {at: want if at == 0 or want <= _WHOLE else len(heads[at]) for at, want in wanted.items()}
    while len(widths) > 1 and sum(widths.values()) + _GAP * (len(widths) - 1) > room:
        widths.popitem()
    spare = room - sum(widths.values()) - _GAP * (len(widths) - 1)
    for at in sorted(widths, key=lambda at: wanted[at]):
        more = max(0, min(wanted[at] - widths[at], spare))
        widths[at] += more
        spare -= more
    return widths


def _cell(value: Any, short: bool) -> str:
    if isinstance(value, datetime):
        moment = value.astimezone()
        return _short_time(moment) if short else moment.strftime("%Y-%m-%d %H:%M:%S")
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return " ".join(text.split())


def _short_time(moment: datetime) -> str:
    """Of today the time, of this year the day and time, else the day."""
    age = datetime.now().astimezone() - moment
    if age < timedelta(days=1) and moment.date() == datetime.now().astimezone().date():
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%m-%d %H:%M" if abs(age) < timedelta(days=180) else "%Y-%m-%d")
