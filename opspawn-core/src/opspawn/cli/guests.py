"""The commands that plugins bring: found when somebody calls one that the core does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from opspawn.cli.lazy import LazyGroup
from opspawn.errors import ConfigError

if TYPE_CHECKING:
    from opspawn.contracts.plugins import CommandPlugin


class GuestGroup(LazyGroup):
    """A lazy group that asks the plugins for a command which its table does not have."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of the table, or that of a plugin. Raises: PluginError: its plugin cannot be used."""
        return super().get_command(ctx, cmd_name) or _command_of_a_plugin(ctx, cmd_name)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Where to find the commands of plugins, which are not imported for a help text."""
        formatter.write_paragraph()
        formatter.write_text("Plugins may bring more commands; 'opspawn plugins list' names them.")


def _command_of_a_plugin(context: click.Context, name: str) -> click.Command | None:
    from opspawn.cli.output import configuration, installed
    from opspawn.plugins.status import INSTALL

    try:
        found = installed(configuration(of=context))
    except ConfigError:
        if ("command", name) in INSTALL:
            raise
        return None  # a command that is misspelt is told so, whatever the configuration is like
    names = [record.name for record in found.records("command")]
    failed = any(item.status in ("failed", "blocked", "clash") and item.name == name for item in found.report())
    if name not in names and not failed and ("command", name) not in INSTALL:
        return None
    command = cast("CommandPlugin", found.get("command", name)).open()
    assert isinstance(command, click.Command)
    return command
