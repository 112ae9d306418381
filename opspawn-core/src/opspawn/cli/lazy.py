"""A click group whose commands are imported when they are called, and which tells every error in one line."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

import click

from opspawn.errors import ConfigError, InvalidInput, NotFound, OpspawnError

#: Options that are called otherwise than their arguments.
_OPTIONS = {"labels": "label", "workflow_id": "workflow", "agent_id": "id", "retry_count": "retries"}
OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class LazyGroup(click.Group):
    """Args: `lazy` maps a command to ("module:attribute", one line of help)."""

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the table."""
        return [*self._lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(_imported(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The help of the commands, from the table, so that none is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in self._lazy.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with suggestions from the table."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=self._lazy, ctx=ctx) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit. Errors become one line on stderr and an exit code; OPSPAWN_DEBUG=1 adds the traceback."""
        ours = {"windows_expand_args": windows_expand_args, **extra}
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **ours)
        _print_anything()
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **ours)
            sys.stdout.flush()  # a pipe that was closed shows here, not at the interpreter's end
        except BrokenPipeError:
            _silence()
            sys.exit(FAILED)
        except Exception as error:
            fail(error)
        sys.exit(code if type(code) is int else OK)


def fail(error: Exception) -> NoReturn:
    """Tell an error in one line on stderr and exit with its code."""
    if os.environ.get("OPSPAWN_DEBUG") and not isinstance(error, click.ClickException | click.Abort):
        traceback.print_exception(error)
    if isinstance(error, click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        sys.exit(WRONG)
    text, code = explain(error)
    prefix = "Error:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        prefix = click.style(prefix, fg="red", bold=True)
    click.echo(f"{prefix} {text}", err=True)
    sys.exit(code)


def explain(error: Exception) -> tuple[str, int]:
    """An error as one line, and the exit code for it."""
    if isinstance(error, InvalidInput) and error.argument:
        error = error.named(option_of(error.argument))
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "opspawn"
        said = error.format_message()
        return one_line(f"{said}{'' if said.endswith(('.', '?')) else '.'} Try '{path} --help'."), error.exit_code
    if isinstance(error, click.ClickException):
        return one_line(error.format_message()), error.exit_code
    if isinstance(error, OpspawnError):
        return one_line(_with_faults(error)), WRONG if isinstance(
            error, ConfigError | NotFound | InvalidInput
        ) else FAILED
    text = one_line(str(error))
    hint = "" if os.environ.get("OPSPAWN_DEBUG") else " Set OPSPAWN_DEBUG=1 to see where."
    return f"{type(error).__name__}: {text or 'no message'}{'' if text.endswith('.') else '.'}{hint}", FAILED


def option_of(argument: str) -> str:
    """The option that hands on a Python argument: options carry no units, and say once what may be repeated."""
    return f"--{_OPTIONS.get(argument) or argument.removesuffix('_s').replace('_', '-')}"


def one_line(text: str) -> str:
    """The text without line ends, tabs and other control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the version of the core and exit."""
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"opspawn {version('opspawn-core')}")
        ctx.exit()


def _with_faults(error: OpspawnError) -> str:
    faults = error.faults if isinstance(error, InvalidInput) else ()
    if not faults:
        return str(error)
    # A message that says the first fault already would only repeat it.
    told = () if faults[0] in error.message else (error.message,)
    listed = "; ".join(fault.rstrip(".") for fault in faults)
    return " ".join(part for part in (*told, listed if listed.endswith("?") else f"{listed}.", error.remedy) if part)


def _imported(module: str) -> ModuleType:
    """The module. What a command imports stays; looking for garbage in it would be a tenth of the start."""
    if module in sys.modules or not gc.isenabled():
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _print_anything() -> None:
    """Let half of a surrogate pair, as in some names of files, be printed escaped, not end the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _silence() -> None:
    """Point stdout elsewhere, so that the interpreter does not complain about the closed pipe when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
