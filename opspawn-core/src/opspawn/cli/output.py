"""What commands share: the configuration, `--json`, talk on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
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


def configuration(
    overrides: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
    of: click.Context | None = None,
) -> Loaded:
    """The configuration for the command that runs now, with the file of `--config`.

    Args:
        overrides: dotted key to what an option of this command says; None where it was not given.
        options: dotted key to the option's name, where it is not "--" and the last part of the key.
        of: the command's context, where it does not run yet.

    Raises: ConfigError.
    """
    from opspawn.config import load_settings

    context = of or click.get_current_context(silent=True)
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


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        from opspawn.contracts.clock import iso

        return iso(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
