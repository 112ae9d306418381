"""The limit: nothing but rows in SQLite, committed in groups by one writer thread, awaited from asyncio."""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
from pathlib import Path

from _common import Settings, expect_rows, measure_steps, report, synchronous

Row = tuple[str, int, str]


class Writer:
    """One thread that puts all rows which wait into one transaction, and answers them when the commit has returned."""

    def __init__(self, file: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rows: queue.SimpleQueue[tuple[Row, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, args=(file,))
        self.synchronous = ""
        self._thread.start()

    async def write(self, row: Row) -> None:
        done = self._loop.create_future()
        self._rows.put((row, done))
        await done

    def close(self) -> None:
        self._rows.put(None)
        self._thread.join()

    def _work(self, file: Path) -> None:
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "CREATE TABLE step (run TEXT, number INTEGER, result TEXT, PRIMARY KEY (run, number)) WITHOUT ROWID"
        )
        self.synchronous = synchronous(connection)
        open_ = True
        while open_ and (item := self._rows.get()) is not None:
            group = [item]
            while not self._rows.empty():
                if (more := self._rows.get()) is None:
                    open_ = False
                    break
                group.append(more)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO step VALUES (?, ?, ?)", [row for row, _ in group])
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, [done for _, done in group])
        connection.close()


def _answer(waiting: list[asyncio.Future[None]]) -> None:
    for done in waiting:
        done.set_result(None)


async def work(number: int) -> dict[str, int]:
    return {"number": number}


async def main() -> None:
    settings = Settings()
    file = settings.folder / "limit.db"
    writer = Writer(file, asyncio.get_running_loop())

    async def run(name: str) -> None:
        for number in range(settings.steps):
            await writer.write((name, number, json.dumps(await work(number))))

    summary, figures = await measure_steps(settings, run)
    writer.close()
    wanted = int(figures["runs"]) * settings.steps
    mode = expect_rows(file, "SELECT count(*) FROM step WHERE run LIKE 'run-%'", wanted, "step results")
    report(summary, figures, (), {"SQLite": sqlite3.sqlite_version, "journal": mode, "synchronous": writer.synchronous})


asyncio.run(main())
