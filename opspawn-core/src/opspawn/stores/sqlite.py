"""The embedded store: one SQLite file (or memory), durable at every commit, shared by several processes of one machine.

    store = await open_sqlite("opspawn.db")

How it works: `writer` commits in groups, `readers` look at what is committed, `tails` follow it live, `locks` tell who
is alive. What is written and read lies in `operations`, `claims` and `queries`, the layout in `schema`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence, Set
from contextlib import closing
from typing import Any, Literal

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.moving import Kept
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
from opspawn.stores import claims, groups, health, moving, operations, payloads, queries, schema
from opspawn.stores.answers import Answers
from opspawn.stores.backup import backup
from opspawn.stores.checkpoints import Checkpoints
from opspawn.stores.followers import Follower
from opspawn.stores.holders import Holders
from opspawn.stores.jobs import as_store_error
from opspawn.stores.locks import WorkerLocks
from opspawn.stores.readers import Readers, Source
from opspawn.stores.storetime import StoreTime
from opspawn.stores.tails import Hub
from opspawn.stores.transaction import Transaction
from opspawn.stores.writer import Writer

_READERS = 2


async def open_sqlite(
    path: str = schema.MEMORY,
    *,
    synchronous: Literal["full", "normal"] = "full",
    busy_timeout_s: float = 30.0,
    clock: Clock = SYSTEM_CLOCK,
) -> SqliteStore:
    """Open a store, making the file and its folder if they are missing.

    Args:
        path: a file, or ":memory:" for a store that ends with the object and is not shared.
        synchronous: "full" keeps every commit through a power failure; "normal" may lose the last ones then.
        busy_timeout_s: how long to wait, in seconds, while another process writes.
        clock: the store's clock, which says what is due; all who open one file must agree on the time.

    Raises: StoreUnusable: the file cannot be used; the text says why and what to do. Nothing new is left behind.
    """
    return await asyncio.to_thread(_open, path, synchronous, busy_timeout_s, clock)


def _open(path: str, synchronous: Literal["full", "normal"], busy_timeout_s: float, clock: Clock) -> SqliteStore:
    connection = schema.open_writer(path, busy_timeout_s, synchronous)
    lock = threading.Lock()
    if path == schema.MEMORY:
        shared = Source(connection, lock, shared=True)
        time = StoreTime(clock, shared=False)
        return SqliteStore(path, connection, lock, [shared] * (_READERS + 1), None, None, busy_timeout_s, time)
    sources = [
        Source(schema.connect(path, busy_timeout_s, synchronous, read_only=True), threading.Lock(), shared=False)
        for _ in range(_READERS + 1)
    ]
    time = StoreTime(clock, shared=True)
    return SqliteStore(path, connection, lock, sources, WorkerLocks(path), Checkpoints(path), busy_timeout_s, time)


class SqliteStore:
    """See `opspawn.contracts.store.Store` for what each method promises. Made by `open_sqlite`."""

    name = "sqlite"

    @property
    def shared(self) -> bool:
        """Whether other processes can open it, too."""
        return self._locks is not None

    def __init__(
        self,
        path: str,
        connection: sqlite3.Connection,
        lock: threading.Lock,
        sources: list[Source],
        locks: WorkerLocks | None,
        checkpoints: Checkpoints | None,
        busy_timeout_s: float,
        time: StoreTime,
    ) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._source = sources[0]
        self._answers = Answers()
        self._locks = locks
        self._hub = Hub(sources[0])
        self._readers = Readers(sources[1:])
        self._writer = Writer(
            connection,
            lock,
            busy_timeout_s,
            self._hub.committed,
            lambda: locks is not None and locks.peers,
            time,
            checkpoints,
            None if checkpoints is None else Holders(path),
        )
        self._closing: asyncio.Future[None] | None = None

    async def commit(self, batch: Batch) -> Receipt:
        """Apply a batch, all or nothing. Raises: Conflict; Limited; StoreError."""
        receipt: Receipt
        if batch.id is None:
            run, arguments, sort = groups.work_of(batch)
            receipt = await self._writer.run(run, arguments, sort)
        else:
            receipt = await self._writer.run(self._apply_once, (batch.id, operations.prepare(batch)))
        return receipt

    def _apply_once(self, tx: Transaction, arguments: tuple[str, list[operations.Prepared]]) -> Receipt:
        id, prepared = arguments
        return self._answers.once(tx, "batch", id, lambda: operations.apply(tx, prepared))

    async def claim(self, claim: Claim) -> list[Lease]:
        """Lease due tasks, lowest rank first."""
        if self._locks is not None and not self._locks.holds(claim.worker):
            try:
                await asyncio.to_thread(self._locks.hold, claim.worker)
            except OSError as error:
                raise as_store_error(error) from error
        leases: list[Lease]
        if claim.id is None:
            leases = await self._writer.run(claims.claim, (claim, self._locks), "claim")
        else:
            leases = await self._writer.run(self._claim_once, claim)
        return leases

    def _claim_once(self, tx: Transaction, claim: Claim) -> list[Lease]:
        return self._answers.once(tx, "claim", claim.id, lambda: claims.claim(tx, (claim, self._locks)))

    async def renew(self, worker: str, leases: Sequence[tuple[str, int]], lease_s: float) -> list[LeaseStatus]:
        """Prolong leases; the answer has their order."""
        statuses: list[LeaseStatus] = await self._writer.run(claims.renew, (worker, list(leases), lease_s))
        return statuses

    async def wakes(self, tasks: Sequence[str]) -> dict[str, int]:
        """The `wakes` of those tasks that exist."""
        found: dict[str, int] = await self._readers.run(queries.wakes, tasks)
        return found

    async def get(self, kind: str, id: str) -> Record | None:
        """A record other than a task, or None."""
        record: Record | None = await self._readers.run(queries.record, (kind, id))
        return record

    async def get_task(self, id: str) -> Task | None:
        """A task, or None."""
        task: Task | None = await self._readers.run(queries.task, id)
        return task

    async def find_tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first. Raises: InvalidInput: unknown field, limit out of range, foreign cursor."""
        page: Page[Task] = await self._readers.run(queries.find_tasks, query)
        return page

    async def find(self, kind: str, query: Query) -> Page[Record]:
        """Records of a kind that match, newest first. Raises: InvalidInput: as `find_tasks`."""
        page: Page[Record] = await self._readers.run(queries.find, (kind, query))
        return page

    async def payload(self, digest: str) -> Any:
        """The value of a digest. Raises: NotFound."""
        return await self._readers.run(payloads.payload, digest)

    async def journal(self, task: str, after: int = 0) -> list[Event]:
        """The events of one task after a position, oldest first."""
        events: list[Event] = await self._readers.run(queries.journal, (task, after))
        return events

    async def events(self, query: EventQuery) -> list[Event]:
        """Events over all tasks. Raises: InvalidInput: the limit is out of range."""
        events: list[Event] = await self._readers.run(queries.events, query)
        return events

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas to whoever tails in this process; one that is slow does not get them."""
        self._hub.publish(deltas)

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> AsyncIterator[Event | TaskDelta]:
        """Events of all processes as they are committed, and deltas of this one. Ends when the store is closed."""
        position = self._hub.position() if after is None else after
        return Follower(self._hub, self._read_after, position, frozenset(types))

    async def _read_after(self, position: int, limit: int, types: Set[str]) -> list[Event]:
        events: list[Event] = await self._readers.run(queries.events_after, (position, limit, types))
        return events

    async def check(self) -> Sequence[Finding]:
        """What an operator should know of this database, worst first."""
        findings: list[Finding] = await self._readers.run(health.check, self._path)
        return findings

    def kept(self) -> AsyncGenerator[Kept, None]:
        """Everything, for another store."""
        return moving.kept(self._readers, self._writer)

    async def restore(self, items: Sequence[Kept]) -> None:
        """Put items as another store kept them, all or none. Raises: Conflict; StoreError."""
        await self._writer.run(moving.restore, list(items))

    async def others(self) -> Sequence[str]:
        """Other processes that have the database open, as the system tells (on Linux)."""
        return [] if self._locks is None else await asyncio.to_thread(Holders(self._path).users)

    async def ready(self) -> None:
        """Return if there is room for what one commit may bring. Raises: StoreError: the disk is full."""
        if self._path != schema.MEMORY:
            await asyncio.to_thread(health.refuse_full, self._path)

    async def backup(self, path: str) -> None:
        """Copy everything that is committed to a new file at `path`, while work goes on; it opens like the original.

        The file appears whole and synced, or not at all. Raises: StoreError: it exists, or cannot be written.
        """
        if self._closing is not None:
            raise StoreError("The store is closed.")
        await asyncio.to_thread(self._backup, path)

    def _backup(self, path: str) -> None:
        if self._path == schema.MEMORY:
            with self._source.lock:
                backup(self._source.connection, path)
            return
        with closing(schema.connect(self._path, self._busy_timeout_s, read_only=True)) as connection:
            backup(connection, path)

    async def aclose(self) -> None:
        """Finish what was accepted, end our leases, let go of locks and files. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._locks is not None and self._locks.workers:
                await self._writer.run(self._give_up, None, last=True)
            else:  # whoever only read must not write, nor wait for the lock
                self._writer.close()
        finally:
            await asyncio.to_thread(self._close_threads)

    def _give_up(self, tx: Transaction, _: None) -> None:
        if self._locks is not None:
            claims.end_leases(tx, self._locks.workers)

    def _close_threads(self) -> None:
        """The writer closes last: the last connection tidies up the files, and must be able to write."""
        self._hub.close()
        self._readers.close()
        self._writer.join()
        if self._locks is not None:
            self._locks.close()
