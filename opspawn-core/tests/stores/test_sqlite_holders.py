"""A process that is stopped in the middle of a commit, or of a checkpoint: the others read on, and say who it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, Query
from opspawn.errors import StoreError
from opspawn.stores import holders
from opspawn.stores.sqlite import open_sqlite

COMMITS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.execute("COMMIT")
"""
CHECKPOINTS = """
import fcntl, sys
file = open(sys.argv[1] + ".lock", "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
TELLS = Batch([Append(None, NewEvent("told"))])


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "opspawn.db")


@pytest.fixture
def hold(path: str) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process that holds the lock until its input ends."""
    started = []

    def start(code: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, path]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("code", [COMMITS, CHECKPOINTS], ids=["commit", "checkpoint"])
async def test_who_waits_in_vain_hears_who_holds_the_lock_and_what_to_do(path: str, code: str, hold: object) -> None:
    await (await open_sqlite(path)).aclose()
    process = hold(code)  # type: ignore[operator]
    os.kill(process.pid, signal.SIGSTOP)
    store = await open_sqlite(path, busy_timeout_s=0.1)
    page = await store.find_tasks(Query())
    with pytest.raises(StoreError) as raised:
        await store.commit(TELLS)
    findings = [finding for finding in await store.check() if "lock of the database" in finding.what]
    os.kill(process.pid, signal.SIGCONT)
    process.communicate(b"")
    await store.commit(TELLS)
    left = [finding for finding in await store.check() if "lock of the database" in finding.what]
    await store.aclose()

    assert page.items == []
    assert f"process {process.pid} (" in str(raised.value)
    assert f"Let it go on (kill -CONT {process.pid}), or end it (kill -9 {process.pid})." in str(raised.value)
    assert [(finding.level, f"process {process.pid}" in finding.what) for finding in findings] == [("error", True)]
    assert left == []


async def test_a_long_wait_is_told_once_while_it_lasts(
    path: str, hold: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "ALARM_S", 0.05)
    await (await open_sqlite(path)).aclose()
    process = hold(COMMITS)  # type: ignore[operator]
    told: list[str] = []
    sink = logger.add(told.append, level="WARNING", format="{message}")
    store = await open_sqlite(path, busy_timeout_s=0.3)
    with pytest.raises(StoreError):
        await store.commit(TELLS)
    await store.aclose()
    logger.remove(sink)

    [line] = [line for line in told if "Nothing can be committed for" in line]
    assert f"process {process.pid}" in line


async def test_who_only_reads_neither_waits_for_the_lock_nor_writes(path: str, hold: object) -> None:
    """Not even the time: a file that is only read stays as it was."""
    store = await open_sqlite(path)
    await store.commit(TELLS)
    reader = await open_sqlite(path, busy_timeout_s=0.1)
    before = content(path)
    hold(COMMITS)  # type: ignore[operator]
    again = await open_sqlite(path, busy_timeout_s=0.1)
    for one in (reader, again):
        await one.find_tasks(Query())
        await one.aclose()
    after = content(path)
    await store.aclose()

    assert before == after


def content(path: str) -> list[bytes]:
    """Of the database and its log."""
    return [Path(name).read_bytes() for name in (path, f"{path}-wal")]
