"""`opspawn tasks dead`, `retry` and `fallback`, as somebody at a terminal uses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ._process import opspawn

APP = """
from pathlib import Path
from opspawn import App, ToolError

HERE = Path(__file__).parent


async def count(ctx):
    await ctx.step("note", note, ctx.input)
    if not (HERE / "mended").exists():
        raise ToolError("there is no more paper", error_type=ctx.input)
    return "counted"


def note(what):
    with (HERE / "notes.txt").open("a") as file:
        file.write(f"{what}\\n")


async def by_hand(ctx):
    return "by hand: " + ctx.input["error"]["message"]


app = App(functions={"count": count, "by_hand": by_hand})
"""
WORKER = 'app = "app:app"\n[worker]\npoll_s = 0.05\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stores: str) -> Path:
    """A folder, on each store, in which two tasks have failed; each was run in the terminal."""
    folder = tmp_path_factory.mktemp("dead")
    (folder / "app.py").write_text(APP)
    (folder / "opspawn.toml").write_text(WORKER)
    for kind in ("timeout", "denied"):
        assert opspawn("run", "function/count", f'"{kind}"', folder=folder).returncode == 1
    return folder


def listed(folder: Path, *more: str) -> list[dict[str, Any]]:
    told = opspawn("tasks", "dead", "--json", *more, folder=folder)
    assert told.returncode == 0, told.stderr
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


def test_the_dead_can_be_listed_filtered_retried_and_asked_about(folder: Path) -> None:
    everything = listed(folder)
    table = opspawn("tasks", "dead", "--error-type", "denied", "--since", "1h", folder=folder)
    [denied] = listed(folder, "--error-type", "denied")
    asked = opspawn("tasks", "fallback", denied["id"], "--handler", "function/by_hand", "--json", folder=folder)
    (folder / "mended").touch()
    retried = opspawn("tasks", "retry", "--error-type", "timeout", "--json", folder=folder)
    again = [task["id"] for task in json.loads(retried.stdout)]
    ends = [opspawn("run", "--resume", id, folder=folder).stdout.strip() for id in again]
    answer = opspawn("run", "--resume", json.loads(asked.stdout)["id"], folder=folder)

    assert len(everything) == 2
    assert "there is no more paper" in table.stdout
    assert denied["id"] in table.stdout
    assert "timeout" not in table.stdout
    assert ends == ["counted"]
    assert answer.stdout.strip() == "by hand: there is no more paper"
    assert listed(folder) == []
    assert (folder / "notes.txt").read_text().count("timeout") == 1  # the noted step was kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("retry",), "Give either the id of one task, or filters, or --all for whatever is dead. See 'opspawn"),
        (("retry", "t-1", "--queue", "fast"), "Give either the id of one task, or filters"),
        (("dead", "--since", "yesterday"), "--since 'yesterday' is no time."),
        (("fallback", "t-1", "--handler", "function/by_hand"), "There is no task 't-1'."),
    ],
)
def test_what_makes_no_sense_is_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    told = opspawn("tasks", *words, folder=folder)

    assert told.returncode != 0
    assert told.stderr.count("\n") == 1, told.stderr
    assert said in told.stderr
