"""`opspawn schedules`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from opspawn.cli import main

APP = """
from opspawn import App


async def note(ctx):
    return ctx.input


app = App(functions={"note": note})
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scheduled.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "scheduled.py:app"\n')


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, ["schedules", *args], prog_name="opspawn")


def told(*args: str) -> Any:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*args: str) -> str:
    result = invoke(*args)
    assert result.exit_code != 0
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_one_is_added_shown_run_paused_and_removed() -> None:
    made = told("add", "tick", "function/note", '{"n": 1}', "--every", "10m", "--label", "team=blue")
    assert (made["everyS"], made["input"], made["labels"]) == (600, {"n": 1}, {"team": "blue"})
    assert told("show", "tick") == made
    assert told("list") == [made]
    assert told("run", "tick")["labels"] == {"team": "blue", "schedule": "tick"}
    assert told("pause", "tick")["state"] == "paused"
    assert "goes on; next at " in invoke("resume", "tick").stderr
    assert invoke("list").stdout.splitlines()[1].startswith("tick\tactive\t")
    assert invoke("remove", "tick").exit_code == 0
    assert told("list") == []


def test_what_is_wrong_is_told_in_one_line() -> None:
    assert "--cron is '61 * * * *': bad minute" in refused("add", "s", "function/note", "--cron", "61 * * * *")
    assert "--every is 'soon'" in refused("add", "s", "function/note", "--every", "soon")
    assert "--at is 'noon'" in refused("add", "s", "function/note", "--at", "noon")
    assert "which has passed" in refused("add", "s", "function/note", "--at", "2020-01-01T00:00:00Z")
    assert "does not say when" in refused("add", "s", "function/note")
    assert "There is no function 'gone'" in refused("add", "s", "function/gone", "--every", "10m")
    assert "There is no schedule 's'" in refused("pause", "s")


def test_what_is_wrong_with_an_argument_is_told_by_its_name_in_the_help() -> None:
    """And not as an option that there is not."""
    told = refused("add", "", "function/note", "--every", "10m")

    assert told.startswith("Error: NAME is ''")
    assert "Error: NAME has 101 characters" in refused("add", "n" * 101, "function/note", "--every", "10m")
