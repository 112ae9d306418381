"""Workers as records: each tells now and then that it is there, what it takes and how busy it is.

Nothing is decided by these records: leases say whose a task is, and how busy a worker is. They are for people, and for
`ops.why`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any

from opspawn import details
from opspawn.contracts.clock import Clock, iso
from opspawn.contracts.seeing import MAX_HANDLERS, WorkerInfo
from opspawn.contracts.store import Batch, Delete, Put, Query, Record, Store, TaskState
from opspawn.errors import Conflict, StoreError

KIND = "worker"
#: How often a worker tells, in seconds; and when somebody else takes away what a worker that died has left.
EVERY_S = 15.0
GONE = timedelta(hours=1)
_MAX_LISTED = 1000
_MOST_COUNTED = 1000


class Presence:
    """Tells of one worker, from `run` until that is cancelled. `now` says what changes: running and draining."""

    def __init__(
        self,
        store: Store,
        worker: str,
        *,
        queues: Sequence[str],
        handlers: Collection[str],
        slots: int,
        now: Callable[[], tuple[int, bool]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._worker = worker
        self._queues = tuple(queues)
        self._handlers = handlers
        self._slots = slots
        self._now = now
        self._clock = clock
        self._version = 0
        self._news = asyncio.Event()
        self._started = iso(datetime.fromtimestamp(clock.time(), UTC))

    def changed(self) -> None:
        """Something has changed that people should know of now."""
        self._news.set()

    async def run(self) -> None:
        """Endless; not in virtual time, which would have to pass beat by beat. The record goes with the worker."""
        if self._clock.virtual:
            return
        telling: asyncio.Task[None] | None = None
        try:
            while True:
                self._news.clear()
                telling = asyncio.create_task(self._beat(EVERY_S))
                await asyncio.shield(telling)
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await self._news.wait()
        finally:
            if telling is not None:  # else it might write the record again, or its version would not be known
                await asyncio.wait({telling})
            await self._leave()

    async def _beat(self, every_s: float) -> None:
        try:
            await self._tell(every_s)
            await self._bury()
        except StoreError as error:  # whoever claims reports it
            details.debug("The worker could not tell of itself: {}", error, error_type=error.error_type)

    async def _tell(self, every_s: float) -> None:
        try:
            receipt = await self._store.commit(Batch([Put(self._record(every_s), expect=self._version)]))
        except Conflict:  # it was away for long, and somebody took its record for that of a dead one
            known = await self._store.get(KIND, self._worker)
            self._version = 0 if known is None else known.version
            receipt = await self._store.commit(Batch([Put(self._record(every_s), expect=self._version)]))
        self._version = receipt.versions[0]

    def _record(self, every_s: float) -> Record:
        running, draining = self._now()
        handlers = sorted(self._handlers)
        data: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": version("opspawn-core"),
            "queues": list(self._queues),
            "handlers": handlers[:MAX_HANDLERS],
            "more_handlers": max(0, len(handlers) - MAX_HANDLERS),
            "slots": self._slots,
            "running": running,
            "draining": draining,
            "started": self._started,
            "every_s": every_s,
        }
        return Record(KIND, self._worker, data)

    async def _bury(self) -> None:
        """Take away what workers have left that died long ago."""
        own = await self._store.get(KIND, self._worker)
        if own is None or own.updated is None:
            return
        for record in await _records(self._store):
            if record.updated is not None and own.updated - record.updated > GONE:
                try:
                    await self._store.commit(Batch([Delete(KIND, record.id, record.version)]))
                except Conflict:
                    continue

    async def _leave(self) -> None:
        if not self._version:
            return
        try:
            await self._store.commit(Batch([Delete(KIND, self._worker, self._version)]))
        except StoreError as error:  # another worker takes it away in time
            details.debug("The worker's record stays behind: {}", error, error_type=error.error_type)


async def workers(store: Store) -> list[WorkerInfo]:
    """The workers that told of themselves, the newest first; some may have died since: see `WorkerInfo.alive`.

    How busy each is comes from the leases of now; while more than 1000 tasks run, it is what each told last.
    """
    told = [_info(record) for record in await _records(store)]
    held = await _held(store) if told else None
    return told if held is None else [replace(worker, running=held[worker.id]) for worker in told]


async def _held(store: Store) -> Counter[str] | None:
    """How many leases each worker holds; None if there are more than are counted."""
    held: Counter[str] = Counter()
    cursor: str | None = None
    for _ in range(_MOST_COUNTED // 200):
        page = await store.find_tasks(Query(where={"state": str(TaskState.RUNNING)}, limit=200, cursor=cursor))
        held.update(task.owner for task in page.items if task.owner is not None)
        if (cursor := page.cursor) is None:
            return held
    return None


async def _records(store: Store) -> list[Record]:
    found: list[Record] = []
    cursor: str | None = None
    while len(found) < _MAX_LISTED:
        page = await store.find(KIND, Query(limit=200, cursor=cursor))
        found += page.items
        if (cursor := page.cursor) is None:
            break
    return found


def _info(record: Record) -> WorkerInfo:
    data = record.data
    assert record.updated is not None
    return WorkerInfo(
        id=record.id,
        host=data["host"],
        pid=data["pid"],
        version=data["version"],
        queues=tuple(data["queues"]),
        handlers=tuple(data["handlers"]),
        slots=data["slots"],
        running=data["running"],
        draining=data["draining"],
        started=datetime.fromisoformat(data["started"]),
        seen=record.updated,
        every_s=data["every_s"],
        more_handlers=data["more_handlers"],
    )
