"""Texts of options that select: an empty one is a mistake, since it would select everything."""

from __future__ import annotations

import click


def named(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The value, as the callback of an option. Raises: BadParameter: it is empty."""
    if value == "":
        words = "it is empty; was a variable of the shell not set? Name one, or leave it out."
        raise click.BadParameter(words, context, parameter)
    return value
