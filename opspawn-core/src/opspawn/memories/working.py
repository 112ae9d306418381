"""The threads of the built-in memory: one writes, one reads, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from opspawn.contracts.filters import Filter, matches
from opspawn.errors import MemoryFailed, OpspawnError
from opspawn.memories.process import Process
from opspawn.memories.rows import item_of
from opspawn.memories.schema import MEMORY, open_file

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Threads:
    """Runs work on connections, each in the thread that its connection belongs to. In memory both are one."""

    def __init__(self, path: str, busy_timeout_s: float) -> None:
        """Open the file. Raises: MemoryUnusable."""
        self._writing = open_file(path, busy_timeout_s)
        self._writer = ThreadPoolExecutor(1, "opspawn-memory-writer")
        self._reading, self._reader = self._writing, self._writer
        if path != MEMORY:
            self._reading = open_file(path, busy_timeout_s, read_only=True)
            self._reader = ThreadPoolExecutor(1, "opspawn-memory-reader")
        self._process = Process()
        self._closed = False
        self._guard = threading.Lock()

    async def write(self, work: Work[T]) -> T:
        """The result of `work(connection)`, once it is durable; all of it or nothing. Raises: MemoryFailed."""
        return await self._run(self._writer, lambda: _transaction(self._writing, work))

    async def tidy(self, work: Work[T]) -> T:
        """As `write`, outside of a transaction."""
        return await self._run(self._writer, lambda: work(self._writing))

    async def read(self, work: Work[T], filter: Filter | None = None) -> T:
        """The result of `work(connection)`, which may call `fits` for the filter. Raises: MemoryFailed."""

        def look() -> T:
            offer(self._reading, filter)
            return work(self._reading)

        return await self._run(self._reader, look)

    def check(self) -> None:
        """Raises: MemoryFailed: this is a forked child, where the threads are not, and nobody may let go the guard."""
        self._process.check()

    async def _run(self, where: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self.check()
        with self._guard:
            if self._closed:
                raise MemoryFailed("The memory is closed.")
            future = where.submit(_telling, work)
        return await asyncio.shield(asyncio.wrap_future(future))

    async def aclose(self) -> None:
        """Finish what was asked for, and close; in a forked child nothing."""
        if self._process.is_child():
            return
        with self._guard:
            if self._closed:
                return
            self._closed = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._reader.shutdown()
        self._writer.shutdown()
        if self._reading is not self._writing:
            self._reading.close()
        self._writing.close()


def offer(connection: sqlite3.Connection, filter: Filter | None) -> None:
    """Give SQL the function `fits` of the columns of an item."""
    if filter is not None:
        connection.create_function("fits", 13, lambda *row: int(matches(filter, item_of(row).fields())))


def _transaction(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
        return result
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _telling(work: Callable[[], T]) -> T:
    try:
        return work()
    except OpspawnError:
        raise
    except sqlite3.Error as error:
        raise MemoryFailed(f"The memory cannot do its work: {error}.") from error
