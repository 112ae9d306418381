"""What an operator sees and does in the terminal: why, trace, journal, workers, the store, the doctor."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from ._process import opspawn

APP = """
from opspawn import App

async def child(ctx):
    await ctx.step("look", lambda: 1)

async def parent(ctx):
    await ctx.step("prepare", lambda: 1)
    await ctx.gather(ctx.spawn("function/child", key="a"), ctx.spawn("function/child", key="b"))
    return "done"

app = App(functions={"child": child, "parent": parent})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, stores: str) -> Path:
    """A folder, on each store, in which a tree has ended, and a task waits for a worker."""
    folder = tmp_path_factory.mktemp("seeing")
    (folder / "app.py").write_text(APP)
    (folder / "opspawn.toml").write_text('app = "app:app"\n')
    assert opspawn("run", "function/parent", "null", folder=folder).returncode == 0
    assert opspawn("tasks", "enqueue", "function/child", "null", folder=folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def ids(folder: Path) -> dict[str, str]:
    """The tasks by handler and state."""
    told = opspawn("tasks", "list", "--json", folder=folder)
    return {f"{task['handler']} {task['state']}": task["id"] for task in json.loads(told.stdout)}


def test_why_trace_and_journal_tell_of_a_task(folder: Path, ids: dict[str, str]) -> None:
    waiting, ended = ids["function/child queued"], ids["function/parent succeeded"]

    why = opspawn("tasks", "why", waiting, folder=folder).stdout
    trace = opspawn("tasks", "trace", ended, folder=folder).stdout.splitlines()
    journal = opspawn("tasks", "journal", ended, "--follow", folder=folder).stdout.splitlines()
    lines = opspawn("tasks", "journal", ended, "--json", folder=folder).stdout.splitlines()

    assert "No worker is there." in why
    assert "opspawn worker" in why
    assert trace[0].startswith("function/parent  succeeded")
    assert [line for line in trace if "prepare" in line]
    assert len([line for line in trace if "function/child  succeeded" in line]) == 2
    assert len([line for line in trace if "look" in line]) == 2
    assert "task.accepted" in journal[0]
    assert "task.succeeded" in journal[-1]
    assert [json.loads(line)["type"] for line in lines][-1] == "task.succeeded"
    assert len(lines) == len(journal)


def test_what_is_not_there_is_one_line(folder: Path) -> None:
    for command in ("why", "trace", "journal"):
        told = opspawn("tasks", command, "t-nobody", folder=folder)
        assert told.returncode == 2
        assert told.stderr.count("\n") == 1
        assert "There is no task 't-nobody'." in told.stderr


def test_a_backup_opens(folder: Path, ids: dict[str, str], tmp_path: Path, stores: str) -> None:
    copy = tmp_path / "copy.db"
    first = opspawn("store", "backup", str(copy), folder=folder)
    again = opspawn("store", "backup", str(copy), folder=folder)

    if stores == "redis":  # its operator copies the server's files
        assert (first.returncode, first.stderr.count("\n"), copy.exists()) == (2, 1, False)
        assert "The store 'redis' makes no backups itself." in first.stderr
        return
    assert first.returncode == 0
    assert sqlite3.connect(copy).execute("SELECT count(*) FROM tasks").fetchone()[0] == len(ids) + 1
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_what_is_old_goes(folder: Path) -> None:
    dry = json.loads(opspawn("store", "prune", "--older-than", "1s", "--dry-run", "--json", folder=folder).stdout)
    done = json.loads(opspawn("store", "prune", "--older-than", "1s", "--json", folder=folder).stdout)
    left = json.loads(opspawn("tasks", "list", "--json", folder=folder).stdout)
    wrong = opspawn("store", "prune", "--older-than", "soon", folder=folder)
    nothing = opspawn("store", "prune", folder=folder)

    assert (dry["trees"], dry["tasks"], dry["dryRun"]) == (1, 3, True)
    assert (done["trees"], done["tasks"]) == (1, 3)
    assert [task["state"] for task in left] == ["queued"]
    assert "--older-than is 'soon'; a span of time is meant." in wrong.stderr
    assert (wrong.returncode, nothing.returncode) == (2, 2)
    assert "--older-than is missing, and [retention] does not say either what is old." in nothing.stderr


def test_the_doctor_finds_a_healthy_place_and_a_broken_one(folder: Path, tmp_path: Path) -> None:
    healthy = opspawn("doctor", "--json", "--invariants", folder=folder)
    (tmp_path / "opspawn.toml").write_text('logs = "many"\n')
    broken = opspawn("doctor", folder=tmp_path)
    data = tmp_path / "other" / ".opspawn"
    data.mkdir(parents=True)
    (data / "opspawn.db").write_bytes(b"this is no database" * 100)
    damaged = opspawn("doctor", "--json", folder=data.parent, env={"OPSPAWN_STORE": "sqlite", "OPSPAWN_WAKER": ""})

    assert healthy.returncode == 0, healthy.stdout
    found = json.loads(healthy.stdout)
    parts = {line["part"] for line in found}
    assert parts >= {"python", "configuration", "plugins", "disk", "sandbox", "store", "clock", "workers", "invariants"}
    assert {line["level"] for line in found} <= {"ok", "warning"}
    assert broken.returncode == 1
    assert "error   configuration" in broken.stdout
    assert damaged.returncode == 1
    [error] = [line for line in json.loads(damaged.stdout) if line["level"] == "error"]
    assert error["part"] == "store"
    assert error["remedy"]
