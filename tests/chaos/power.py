"""Power failures: what the disk may hold when the power goes, opened anew.

With `synchronous=FULL` a commit has returned only when its frames of the log are on the disk. So after a power failure
the log holds at least all of these, and then any part of what was being written. A snapshot is taken between two
commits, with checkpoints held off; then its log is cut anywhere behind what a checkpoint has moved into the database,
since a checkpoint makes the log durable first. Whatever is cut off, what is left must be a prefix of what happened; of
the whole log, everything that a caller was told.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opspawn.testing import assert_invariants

_WAL_HEADER, _FRAME_HEADER = 32, 24
COPY = Path(__file__).with_name("copy_disk.py")


@dataclass(slots=True)
class Snapshot:
    """The files of an instant, and the ids of the tasks that callers had been given before."""

    folder: Path
    accepted: set[str]
    moved: int


@dataclass(slots=True)
class Power:
    """Takes snapshots of a database into a folder, at most `most` of them."""

    database: Path
    folder: Path
    chance: random.Random
    most: int = 0
    cuts: int = 3
    snapshots: list[Snapshot] = field(default_factory=list)
    opened: int = 0

    @property
    def wanted(self) -> bool:
        """Whether there is room for another."""
        return len(self.snapshots) < self.most

    async def snapshot(self, accepted: set[str]) -> None:
        """Keep what the disk holds now. In a process of its own: whoever reads the files of a database and closes them
        again drops the locks that SQLite holds on them for the whole process.
        """
        target = self.folder / f"snapshot-{len(self.snapshots)}"
        target.mkdir(parents=True)
        copying = await asyncio.create_subprocess_exec(
            *(sys.executable, str(COPY), str(self.database), str(target)), stdout=asyncio.subprocess.PIPE
        )
        moved, _ = await copying.communicate()
        if copying.returncode != 0:
            raise RuntimeError(f"The files of {self.database} could not be copied.")
        self.snapshots.append(Snapshot(target, accepted, int(moved)))

    async def check(self, history: list[tuple[int, str]]) -> list[str]:
        """What is wrong, in sentences; `history` is the position and type of every event of the whole run."""
        known = dict(history)
        found: list[str] = []
        for snapshot in self.snapshots:
            for size in self._sizes(snapshot):
                found += await self._open(snapshot, size, known)
        return found

    def _sizes(self, snapshot: Snapshot) -> Iterator[int | None]:
        """How long the log is when it is read again; None for the whole one."""
        yield None
        wal = snapshot.folder / "opspawn.db-wal"
        whole = wal.stat().st_size if wal.exists() else 0
        if whole < _WAL_HEADER:
            return
        page = struct.unpack(">I", wal.read_bytes()[8:12])[0]
        least = min(whole, _WAL_HEADER + snapshot.moved * (_FRAME_HEADER + page))
        for _ in range(self.cuts):
            yield self.chance.randint(least, whole)

    async def _open(self, snapshot: Snapshot, size: int | None, known: dict[int, str]) -> list[str]:
        place = self.folder / "opened"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(snapshot.folder, place)
        if size is not None:
            os.truncate(place / "opspawn.db-wal", size)
        where = f"{snapshot.folder.name} with {'its whole log' if size is None else f'{size} bytes of its log'}"
        self.opened += 1
        found = await asyncio.to_thread(_look, place / "opspawn.db", known, where)
        if not found:
            found = await self._read(place / "opspawn.db", snapshot.accepted if size is None else set(), where)
        return found

    async def _read(self, path: Path, accepted: set[str], where: str) -> list[str]:
        from opspawn.stores.sqlite import open_sqlite

        store = await open_sqlite(str(path))
        try:
            await assert_invariants(store, accepted=accepted)
        except AssertionError as error:
            return [f"F12: {where}: {error}"]
        finally:
            await store.aclose()
        return []


def _look(path: Path, known: dict[int, str], where: str) -> list[str]:
    """Whether the file is whole, and what it holds a prefix of what happened."""
    connection = sqlite3.connect(path)
    try:
        told = [line for (line,) in connection.execute("PRAGMA integrity_check")]
        if told != ["ok"]:
            return [f"F12: {where} is broken: {'; '.join(told[:3])}"]
        events = connection.execute("SELECT position, type FROM events ORDER BY position").fetchall()
    except sqlite3.DatabaseError as error:
        return [f"F12: {where} cannot be read: {error}"]
    finally:
        connection.close()
    last = events[-1][0] if events else 0
    wanted = {position: type for position, type in known.items() if position <= last}
    if dict(events) != wanted:
        return [f"F12: {where} is no prefix of what happened: {len(events)} of {len(wanted)} events up to {last}"]
    return []
