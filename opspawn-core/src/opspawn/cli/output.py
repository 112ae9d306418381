"""What commands share: the configuration, `--json`, tables, talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from opspawn.config import Loaded
    from opspawn.plugins import Plugins

F = TypeVar("F", bound=Callable[..., Any])

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def json_option(command: F) -> F:
    """Add `--json`, which reaches the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")(command)


def configuration(overrides: Mapping[str, Any] | None = None, options: Mapping[str, str] | None = None) -> Loaded:
    """The configuration for the command that runs now, with the file of `--config`.

    Args:
        overrides: dotted key to what an option of this command says; None where it was not given.
        options: dotted key to the option's name, where it is not "--" and the last part of the key.

    Raises: ConfigError.
    """
    from opspawn.config import load_settings

    context = click.get_current_context(silent=True)
    path = context.find_root().params.get("config") if context else None
    return load_settings(path, overrides=overrides, options=options)


def installed(loaded: Loaded) -> Plugins:
    """The plugins that the configuration allows, without warnings: for commands that show what failed."""
    from opspawn.plugins import Plugins

    return Plugins.load(allow=loaded.settings.plugins_allow, block=loaded.settings.plugins_block, quiet=True)


def say(text: str, *, dim: bool = False) -> None:
    """Talk: progress, hints and confirmations go to stderr, so that stdout holds data alone."""
    text = harmless(text, sys.stderr)
    click.echo(click.style(text, dim=True) if dim and not os.environ.get("NO_COLOR") else text, err=True)


def print_text(text: str, *, nl: bool = True) -> None:
    """Print on stdout what a model, a tool or a user said."""
    click.echo(harmless(text, sys.stdout), nl=nl)


def harmless(text: str, stream: TextIO) -> str:
    """The text; for a terminal without control characters, which it would obey, but with its lines and tabs."""
    return text.translate(_CONTROLS) if stream.isatty() else text


def print_json(data: Any, *, line: bool = False) -> None:
    """Print data as JSON on stdout; `line` keeps it on one line, for streams."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=None if line else 2, default=_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "") -> None:
    """Print a table on stdout: fitted and coloured on a terminal, else tab-separated and whole, for other programs.

    None prints as an empty cell. Without rows nothing is printed on stdout, and `empty`, if any, is said on stderr.
    """
    cells = [["" if cell is None else _cell(cell) for cell in row] for row in rows]
    if not cells:
        if empty:
            say(empty)
        return
    if not sys.stdout.isatty():
        heads = [column.upper() for column in columns]
        click.echo("\n".join("\t".join(row) for row in [heads, *cells]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*(column.upper() for column in columns), box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap = True  # an id or name that is cut or broken cannot be copied; the others give way
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False, no_color=bool(os.environ.get("NO_COLOR"))).print(table)


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


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return " ".join(text.split())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        from opspawn.contracts.clock import iso

        return iso(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
