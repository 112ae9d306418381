"""Reading beside the writer: threads with connections of their own, which see what was committed and nothing else."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opspawn.errors import StoreError
from opspawn.stores.jobs import Job, as_store_error, deliver


@dataclass(frozen=True, slots=True)
class Source:
    """A connection and the lock that whoever uses it must hold. In memory it is the writer's own."""

    connection: sqlite3.Connection
    lock: threading.Lock
    shared: bool

    def close(self) -> None:
        """Close the connection, unless it is the writer's."""
        if not self.shared:
            with self.lock:
                self.connection.close()


class Readers:
    """One thread per source, so that a long search does not hold up a short look."""

    def __init__(self, sources: list[Source]) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closed = False
        self._guard = threading.Lock()
        self._threads = [
            threading.Thread(target=self._work, args=(source,), name="opspawn-sqlite-reader", daemon=True)
            for source in sources
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, run: Callable[[sqlite3.Connection, Any], Any], arguments: Any) -> Any:
        """The result of `run(connection, arguments)`. Raises: StoreError: it failed, or the store is closed."""
        job = Job(run, arguments)
        with self._guard:
            if self._closed:
                raise StoreError("The store is closed.")
            self._queue.put(job)
        return await job.future

    def close(self) -> None:
        """Finish what was asked, end the threads; blocks. Idempotent."""
        with self._guard:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, source: Source) -> None:
        while (job := self._queue.get()) is not None:
            try:
                with source.lock:
                    job.result = job.run(source.connection, job.arguments)
            except Exception as error:  # whatever it is, the thread must live and the caller must hear of it
                job.error = as_store_error(error)
            deliver((job,))
        source.close()
