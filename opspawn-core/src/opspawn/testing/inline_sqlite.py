"""The embedded store without its threads, in memory: each call is done at once, in the event loop of the caller."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from opspawn.contracts.clock import Clock
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import (
    Batch,
    Claim,
    EventQuery,
    Finding,
    Lease,
    LeaseStatus,
    Page,
    Query,
    Receipt,
    Record,
    Task,
)
from opspawn.errors import StoreError
from opspawn.stores import claims, operations, payloads, queries, schema
from opspawn.stores.answers import Answers
from opspawn.stores.storetime import StoreTime
from opspawn.stores.transaction import Transaction

T = TypeVar("T")


class InlineSqlite:
    """See `opspawn.contracts.store.Store`. For virtual time, in which nothing may go on in another thread."""

    name = "inline-sqlite"

    def __init__(self, clock: Clock) -> None:
        self._time = StoreTime(clock, shared=False)
        self._answers = Answers()
        self._connection: sqlite3.Connection | None = schema.open_writer(schema.MEMORY, 0.0, "normal")
        self._news: set[asyncio.Event] = set()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError("The store is closed.")
        return self._connection

    def _write(self, work: Callable[[Transaction], T]) -> T:
        connection = self._open
        connection.execute("BEGIN")
        transaction = Transaction(connection, self._time)
        try:
            answer = work(transaction)
        except BaseException:
            connection.execute("ROLLBACK")
            for callback in transaction.finally_:
                callback(False)
            raise
        connection.execute("COMMIT")
        for callback in transaction.finally_:
            callback(True)
        for news in self._news:
            news.set()
        return answer

    async def commit(self, batch: Batch) -> Receipt:
        prepared = operations.prepare(batch)
        return self._write(lambda tx: self._answers.once(tx, "batch", batch.id, lambda: operations.apply(tx, prepared)))

    async def claim(self, claim: Claim) -> list[Lease]:
        return self._write(lambda tx: self._answers.once(tx, "claim", claim.id, lambda: claims.claim(tx, claim, None)))

    async def renew(self, worker: str, leases: Sequence[tuple[str, int]], lease_s: float) -> list[LeaseStatus]:
        return self._write(lambda tx: claims.renew(tx, (worker, leases, lease_s)))

    async def wakes(self, tasks: Sequence[str]) -> dict[str, int]:
        return queries.wakes(self._open, tasks)

    async def get(self, kind: str, id: str) -> Record | None:
        return queries.record(self._open, (kind, id))

    async def get_task(self, id: str) -> Task | None:
        return queries.task(self._open, id)

    async def find_tasks(self, query: Query) -> Page[Task]:
        return queries.find_tasks(self._open, query)

    async def find(self, kind: str, query: Query) -> Page[Record]:
        return queries.find(self._open, (kind, query))

    async def payload(self, digest: str) -> Any:
        return payloads.payload(self._open, digest)

    async def check(self) -> Sequence[Finding]:
        return []

    async def journal(self, task: str, after: int = 0) -> list[Event]:
        return queries.journal(self._open, (task, after))

    async def events(self, query: EventQuery) -> list[Event]:
        return queries.events(self._open, query)

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        return None

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> AsyncIterator[Event | TaskDelta]:
        return self._follow(queries.last_position(self._open) if after is None else after, frozenset(types))

    async def _follow(self, position: int, types: frozenset[str]) -> AsyncIterator[Event | TaskDelta]:
        news = asyncio.Event()
        self._news.add(news)
        try:
            while self._connection is not None:
                news.clear()
                for event in queries.events_after(self._connection, (position, 500, types)):
                    position = event.position
                    yield event
                await news.wait()
        finally:
            self._news.discard(news)

    async def aclose(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for news in self._news:
            news.set()
