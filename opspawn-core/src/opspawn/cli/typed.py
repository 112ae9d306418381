"""What a fault is about, by the name under which it was typed: options are named by `lazy`, arguments here."""

from __future__ import annotations

import click

from opspawn.cli.lazy import option_of
from opspawn.errors import InvalidInput


def as_typed(error: InvalidInput) -> InvalidInput:
    """The same error; about an argument of the running command, it begins with what help calls that."""
    if error.argument is None or (context := click.get_current_context(silent=True)) is None:
        return error
    named = option_of(error.argument).removeprefix("--")
    for parameter in context.command.params:
        if isinstance(parameter, click.Argument) and named in (parameter.name, _shown(parameter).lower()):
            told = f"{_shown(parameter)} {error.message.removeprefix(f'{error.argument} ')}"
            return InvalidInput(told, faults=error.faults, remedy=error.remedy)
    return error


def _shown(argument: click.Argument) -> str:
    return argument.human_readable_name.strip("[]")
