"""A worker that is frozen past its lease, and thawed, does no harm: another one has its task by then."""

from __future__ import annotations

import fcntl
import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from ._process import OPSPAWN, Process, Serve, wait_for

APP = """
import asyncio, os
from pathlib import Path
from opspawn import Agent, App
from opspawn.contracts.planner import PlannerResult
from opspawn.testing import ScriptedModel

HERE = Path(__file__).parent


async def act():
    with (HERE / "acts.txt").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not (HERE / "go").exists():
        await asyncio.sleep(0.02)
    return os.getpid()


class Works:
    async def run(self, ctx):
        first = await ctx.step("act", act)
        return PlannerResult([first, await ctx.step("after", os.getpid)])


app = App(agents=[Agent("a", model=ScriptedModel([]), planner=Works())])
"""


def freeze(process: Process, database: Path) -> None:
    """Stop a process between two of its writes: in the middle of one it would keep its locks from everybody."""

    def frozen() -> bool:
        process.send(signal.SIGSTOP)
        time.sleep(0.05)
        try:
            with database.with_name(f"{database.name}.lock").open() as checkpoints:
                fcntl.flock(checkpoints, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with closing(sqlite3.connect(database, timeout=0.3, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return True
        except (sqlite3.OperationalError, BlockingIOError):
            process.send(signal.SIGCONT)
            time.sleep(0.3)  # time to renew its leases
            return False

    wait_for(frozen, "a moment in which the worker does not write")


@pytest.mark.timeout(120)
def test_a_frozen_worker_fences_itself_and_its_late_result_is_refused(tmp_path: Path, store: str) -> None:
    """F3; named guards: the fence on the suspended clock, and the token of the claim."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "opspawn.toml").write_text('app = "app:app"\n[worker]\npoll_s = 0.05\nlease_s = 2\n')

    def acts() -> list[int]:
        path = tmp_path / "acts.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    with Serve(tmp_path, None, "--no-worker") as server, Process([OPSPAWN, "worker"], tmp_path) as frozen:
        frozen.line("Opspawn works")
        id = server.post("/v1/agents/a/run", {"input": "x"})["id"]
        wait_for(lambda: len(acts()) == 1, "the first act")
        if store == "sqlite":
            freeze(frozen, tmp_path / ".opspawn" / "opspawn.db")
        else:
            frozen.send(signal.SIGSTOP)
        with Process([OPSPAWN, "worker"], tmp_path) as other:
            wait_for(lambda: len(set(acts())) == 2, "the act of the other worker", 60)
            (tmp_path / "go").touch()
            frozen.send(signal.SIGCONT)
            ended = server.settled(id)
            frozen.line("lease of the task is lost")
            alive = frozen.alive
            next_one = server.settled(server.post("/v1/agents/a/run", {"input": "y"})["id"])
            assert other.alive
        journal = server.journal(id)

    winner = ended["result"][0]
    assert (ended["state"], ended["failures"], ended["result"]) == ("succeeded", 0, [winner, winner])
    assert winner != acts()[0]
    assert [event["data"]["key"] for event in journal if event["type"] == "step.done"] == ["act", "after"]
    assert alive
    assert next_one["state"] == "succeeded", json.dumps(next_one)
