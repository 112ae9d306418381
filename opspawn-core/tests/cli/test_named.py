"""An option that selects and is empty, as an unset variable of the shell leaves it, selects nothing at all."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from opspawn.cli import main

LISTS = {
    "tasks list": ("--agent", "--handler", "--root"),
    "tasks dead": ("--handler", "--agent", "--queue", "--error-type"),
    "tasks retry --all": ("--handler", "--agent", "--queue", "--error-type"),
    "questions list": ("--task", "--root", "--to"),
    "approvals list": ("--task", "--root", "--to"),
    "sessions list": ("--agent",),
    "agents list": ("--capability",),
    "logs": ("--agent", "--task", "--session", "--error-type"),
}


@pytest.mark.parametrize(("command", "option"), [(command, one) for command, some in LISTS.items() for one in some])
def test_an_empty_option_that_selects_is_refused(command: str, option: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), option, ""], prog_name="opspawn")

    assert done.exit_code == 2
    assert f"Invalid value for '{option}': it is empty; was a variable of the shell not set?" in done.stderr
    assert done.stdout == ""
