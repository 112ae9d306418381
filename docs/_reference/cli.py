"""`cli.md`: the help of every command."""

from __future__ import annotations

from collections.abc import Iterator

import click

from _reference.settings import OURS
from opspawn.cli import COMMANDS, main
from opspawn.plugins import Plugins

WIDTH = 100

_OPENING = """\
# Command line

`pip install opspawn-core` brings the command `opspawn`. Data goes to stdout and talk to stderr, so that
output can be piped; every command that reads has `--json`. On a terminal there are tables and colours
(`NO_COLOR=1` switches these off), elsewhere plain columns with tabs.

| Exit code | Meaning |
|---|---|
| 0 | done |
| 1 | failed: a run failed, was cut off or waits for a decision; a state forbids what was asked; the store failed |
| 2 | wrong usage, input or configuration; nothing was started |
| 130 | interrupted |

An error is one line on stderr: what is wrong, where, and the remedy. `OPSPAWN_DEBUG=1` adds the traceback."""


def pages() -> dict[str, str]:
    """The page."""
    root = _context(main, None, "opspawn")
    parts = [_OPENING, "## opspawn", _help(root)]
    for name in COMMANDS:
        parts += _described(name, root)
    for record in Plugins.load(allow=OURS, quiet=True).records("command"):
        parts += _described(record.name, root)
    return {"cli.md": "\n\n".join(parts)}


def _described(name: str, parent: click.Context) -> Iterator[str]:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = _context(command, parent, name)
    yield f"{'###' if parent.parent else '##'} {context.command_path}"
    yield _help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _described(inner, context)


def _context(command: click.Command, parent: click.Context | None, name: str) -> click.Context:
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, parent=parent, info_name=name, **width, **command.context_settings)


def _help(context: click.Context) -> str:
    lines = [line.rstrip() for line in context.get_help().split("\n")]
    return "```text\n" + "\n".join(lines) + "\n```"
