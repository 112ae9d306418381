"""The command line itself: quick help, one line per error, exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from opspawn.cli import COMMANDS, main
from opspawn.cli.lazy import LazyGroup, explain
from opspawn.errors import ConfigError, InvalidInput, NotFound, OpspawnError, StoreError

HEAVY = (
    *("pydantic", "pluggy", "loguru", "rich", "asyncio", "dataclasses", "fastapi"),
    *("opspawn.contracts", "opspawn.app", "opspawn.agentkit"),
)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="opspawn")


def failing(error: BaseException) -> LazyGroup:
    group = LazyGroup(name="opspawn")

    @group.command()
    def go() -> None:
        raise error

    return group


def test_help_imports_click_and_nothing_heavier() -> None:
    program = f"""
import sys
from opspawn.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert answer.stderr.strip() == "[]"
    for name, (_, help) in COMMANDS.items():
        assert name in answer.stdout
        assert help in answer.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_has_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert command.name == name
    assert invoke(name, "--help").exit_code == 0


def test_the_version_is_that_of_the_core() -> None:
    assert invoke("--version").stdout.startswith("opspawn 0.")


def test_a_wrong_command_is_told_in_one_line_with_its_neighbour() -> None:
    result = invoke("plugin")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "Error: No such command 'plugin'. Did you mean 'plugins'? Try 'opspawn --help'.\n"


def test_a_wrong_option_is_told_in_one_line() -> None:
    result = invoke("plugins", "list", "--jsn")

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "Try 'opspawn plugins list --help'." in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConfigError("The key is wrong.", remedy="Mend it."), 2, "Error: The key is wrong. Mend it."),
        (NotFound("agent", "x", known=["a", "b"]), 2, "Error: There is no agent 'x'. Known: a, b."),
        (
            InvalidInput("It does not fit.", faults=["a: b", "c: d."], remedy="So."),
            2,
            "Error: It does not fit. a: b; c: d. So.",
        ),
        (StoreError("The disk\nis full."), 1, "Error: The disk is full."),
        (OpspawnError("No."), 1, "Error: No."),
        (
            ZeroDivisionError("division by zero"),
            1,
            "Error: ZeroDivisionError: division by zero. Set OPSPAWN_DEBUG=1 to see where.",
        ),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_every_error_is_one_line_and_an_exit_code(error: BaseException, code: int, told: str) -> None:
    result = CliRunner().invoke(failing(error), ["go"])

    assert result.exit_code == code
    assert result.stderr.strip() == told


def test_the_traceback_is_there_for_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSPAWN_DEBUG", "1")

    result = CliRunner().invoke(failing(ValueError("x")), ["go"])

    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == "Error: ValueError: x."


def test_control_characters_of_an_error_do_not_reach_the_terminal() -> None:
    assert explain(StoreError("a\x1b[31mb\r\tc"))[0] == "a [31mb c"


def test_a_command_may_choose_its_exit_code() -> None:
    group = LazyGroup(name="opspawn")

    @group.command()
    @click.pass_context
    def go(context: click.Context) -> None:
        context.exit(1)

    assert CliRunner().invoke(group, ["go"]).exit_code == 1


def test_a_reader_that_goes_away_is_no_error_to_talk_about() -> None:
    command = f"{sys.executable} -c 'from opspawn.cli import main; main()' config schema | head -c 1"
    answer = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)

    assert answer.stderr == ""


def test_half_of_a_surrogate_pair_is_printed_as_json_escapes_it() -> None:
    """Names of files may hold one; a result that has it must not make the list of all tasks unreadable."""
    code = (
        "from opspawn.cli.lazy import LazyGroup\n"
        "from opspawn.cli.output import print_json\n"
        "group = LazyGroup()\n"
        "group.command('go')(lambda: print_json(['\\ud800'], line=True))\n"
        "group.main(['go'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, '["\\ud800"]\n', "")
