"""DBOS: an async workflow of steps, each recorded in the system database before the next one begins."""

from __future__ import annotations

import asyncio
import sqlite3

from _common import Settings, expect, expect_rows, measure_steps, report, synchronous
from dbos import DBOS, SetWorkflowID

settings = Settings()
file = settings.folder / "dbos.db"


@DBOS.step()
async def work(number: int) -> dict[str, int]:
    return {"number": number}


@DBOS.workflow()
async def chain(steps: int) -> int:
    for number in range(steps):
        await work(number)
    return steps


async def run(name: str) -> None:
    with SetWorkflowID(name):
        done = await chain(settings.steps)
    expect(done == settings.steps, f"{name} made {done} steps")


def main() -> None:
    if settings.get("wal"):  # The mode is kept in the file, so that every later connection has it.
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{file}", "log_level": "ERROR"})
    DBOS.launch()
    summary, figures = asyncio.run(measure_steps(settings, run))
    DBOS.destroy()
    wanted = int(figures["runs"]) * settings.steps
    rows = "SELECT count(*) FROM operation_outputs WHERE workflow_uuid LIKE 'run-%'"
    mode = expect_rows(file, rows, wanted, "step results")
    facts = {"SQLite": sqlite3.sqlite_version, "journal": mode, "synchronous": synchronous()}
    report(summary, figures, ("dbos", "sqlalchemy"), facts)


main()
