"""Group commit: the one thread that writes.

While a transaction is being made durable, the callers of the next one gather in the queue; the thread then takes
all of them, gives each a savepoint inside one transaction, and pays for one fsync. So the rate grows with the number
of callers, and a caller alone waits for nobody. A job that fails is rolled back to its savepoint and hurts no other;
when the transaction itself fails, all its jobs fail, and none of them had an effect.

Each statement lets go of the interpreter lock, and the thread waits up to 5 ms to get it back while the event loop has
something to do. So the rate is a matter of few statements and few wake-ups: what one turn of a loop asks for arrives in
one piece, what the jobs of a group have in common is done together (see `groups`), and the answers go back in one call
per loop. Jobs of a group are under way at the same time, so that none can tell in which order they are done.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Set
from typing import Any

from opspawn.errors import StoreError
from opspawn.stores import groups, schema
from opspawn.stores.checkpoints import CheckpointHeld, Checkpoints
from opspawn.stores.groups import Sort
from opspawn.stores.holders import Holders
from opspawn.stores.jobs import Job, Outbox, as_store_error, deliver
from opspawn.stores.storetime import StoreTime
from opspawn.stores.transaction import Transaction

_PIECE = 250  # jobs that arrive in one piece
_LATE = ("", "claim")  # sorts of what is done one by one, where anything has no sort
_GROUP = 500  # jobs in one transaction at most, so that nobody waits long for the group before
_BUSY_S, _PAUSE_S = 0.020, 0.002  # after so long without a rest, rest so long, where other processes wait for the lock


class Writer:
    """Runs jobs in transactions, in the order in which they came.

    Args:
        connection: a connection for writing; `join` closes it, and not before: readers may share it.
        lock: held while a transaction is open; guards a connection that readers share.
        committed: called after every transaction with the types of its events, in the writer's thread.
        peers: whether other processes are at work, which then get their turn.
        time: gives each transaction its time.
        checkpoints: keeps commits and checkpoints of several processes apart; None in memory.
        holders: says who holds the lock for which a commit waits; None in memory.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: threading.Lock,
        busy_timeout_s: float,
        committed: Callable[[Set[str]], None],
        peers: Callable[[], bool],
        time: StoreTime,
        checkpoints: Checkpoints | None = None,
        holders: Holders | None = None,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._busy_timeout_s = busy_timeout_s
        self._committed = committed
        self._peers = peers
        self._time = time
        self._checkpoints = checkpoints
        self._holders = holders
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._outbox = Outbox(self._accept, _PIECE)
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="opspawn-sqlite-writer", daemon=True)
        self._thread.start()

    def run(
        self, run: Callable[[Transaction, Any], Any], arguments: Any, sort: Sort = "", *, last: bool = False
    ) -> asyncio.Future[Any]:
        """Run `run(transaction, arguments)`; its result, once it is durable. With `last`, accept nothing more.

        With a `sort` the arguments are a batch which `run` would apply alone, and which others may be applied with; or
        what a claim asks for.

        Raises: StoreError: the work or the commit failed, or the store is closed; nothing was applied.
        """
        job = Job(run, arguments, sort)
        if last:
            self._accept([job], last=True)
        else:
            self._outbox.put(job)
        return job.future

    def _accept(self, jobs: list[Job], last: bool = False) -> None:
        with self._closing:  # nothing may come behind the None that ends the thread
            if not self._closed:
                self._queue.put(jobs)
                if last:
                    self._closed = True
                    self._queue.put(None)
                return
        for job in jobs:
            job.error = StoreError("The store is closed.")
        deliver(jobs)

    def close(self) -> None:
        """Accept nothing more, and end once everything accepted is done, without a last job."""
        self._accept([], last=True)

    def join(self) -> None:
        """Wait until everything accepted is done, and close the connection; blocks. After a `run` with `last`."""
        self._thread.join()
        with self._lock:
            self._connection.close()
        if self._checkpoints is not None:
            self._checkpoints.close()

    def _work(self) -> None:
        began = time.monotonic()
        going = True
        while going:
            before = time.monotonic()
            jobs, going = self._next_group()
            now = time.monotonic()
            if now - before > _PAUSE_S:
                began = now
            elif now - began > _BUSY_S and self._peers():
                time.sleep(_PAUSE_S)
                began = time.monotonic()
            if jobs:
                self._commit(jobs)
                deliver(jobs)
                self._checkpoint()

    def _next_group(self) -> tuple[list[Job], bool]:
        """Wait for jobs, take what else is there; False once the end was reached."""
        jobs: list[Job] = []
        piece = self._queue.get()
        while piece is not None:
            jobs += piece
            if len(jobs) > _GROUP - _PIECE or self._queue.empty():
                return jobs, True
            piece = self._queue.get()
        return jobs, False

    def _commit(self, jobs: list[Job]) -> None:
        transaction = None
        try:
            if self._checkpoints is not None:
                self._checkpoints.hold_off(self._busy_timeout_s)
            try:
                with self._lock:
                    transaction = self._at_once(jobs)
                    if transaction is None:
                        before = self._connection.total_changes
                        transaction, left = self._begin_with(jobs)
                        for job in left:
                            self._run(job, transaction)
                        if not transaction.journaled and self._connection.total_changes != before:
                            self._time.keep(self._connection)
                        transaction.execute("COMMIT")
            finally:
                if self._checkpoints is not None:
                    self._checkpoints.let()
        except Exception as error:  # whatever it is, the thread must live and every caller must hear of it
            self._roll_back()
            told = self._failure(error)
            for job in jobs:
                job.error = told
            self._finish(transaction, committed=False)
            return
        self._finish(transaction, committed=True)
        self._committed(transaction.types)

    def _failure(self, error: Exception) -> Exception:
        locked = isinstance(error, CheckpointHeld) or (isinstance(error, sqlite3.Error) and schema.is_busy(error))
        return self._holders.failure(error) if locked and self._holders is not None else as_store_error(error)

    def _at_once(self, jobs: list[Job]) -> Transaction | None:
        """Do and commit appends by a statement that is a transaction of its own: while it runs, the event loop goes on.
        None, and nothing is done, if there is more to do, another process writes, or a statement fails.
        """
        if {job.sort for job in jobs} != {"append"}:
            return None
        transaction = Transaction(self._connection, self._time)
        try:
            receipts = groups.append_all(transaction, [job.arguments for job in jobs])
        except Exception:  # whatever it is, it may be the fault of one of them
            return None
        for job, receipt in zip(jobs, receipts, strict=True):
            job.result = receipt
        return transaction

    def _begin_with(self, jobs: list[Job]) -> tuple[Transaction, list[Job]]:
        """Begin a transaction with all jobs that have a sort; the transaction, and what is left to do in it."""
        late = _LATE if any(not job.sort for job in jobs) else ()  # a claim comes behind what it may be asked for
        left = [job for job in jobs if job.sort in late]
        alike = [job for job in jobs if job.sort not in late]
        transaction = self._begin()
        if not alike or self._together(alike, transaction):
            return transaction, left
        self._roll_back()  # guard: where one is at fault nothing is left; `_run` will find out which
        self._finish(transaction, committed=False)
        return self._begin(), jobs

    def _begin(self) -> Transaction:
        schema.begin(self._connection, self._busy_timeout_s, self._holders)
        return Transaction(self._connection, self._time)

    def _together(self, jobs: list[Job], transaction: Transaction) -> bool:
        """Do jobs that have a sort; False if one is at fault, and some may be done."""
        try:
            answers = groups.apply_all(transaction, [(job.sort, job.arguments) for job in jobs])
        except Exception:  # whatever it is, it may be the fault of one of them
            return False
        for job, answer in zip(jobs, answers, strict=True):
            job.result = answer
        return True

    def _checkpoint(self) -> None:
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.rest(self._connection)
        except (sqlite3.Error, OSError):
            return  # nothing is lost: the log stays as it is, and a disk that fails shows in the next commit

    def _run(self, job: Job, transaction: Transaction) -> None:
        """Run one job in a savepoint. Raises: sqlite3.Error: the transaction is lost, with all its jobs."""
        journaled = transaction.journaled
        transaction.execute("SAVEPOINT job")  # guard: who fails in a group fails alone
        try:
            job.result = job.run(transaction, job.arguments)
        except Exception as error:  # the job's own failure, whatever it is, must not hurt its neighbours
            if not self._connection.in_transaction:  # a full disk or a failing one ends the transaction by itself
                raise
            transaction.execute("ROLLBACK TO job")
            transaction.journaled = journaled
            job.error = as_store_error(error)
        transaction.execute("RELEASE job")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _finish(self, transaction: Transaction | None, committed: bool) -> None:
        for callback in transaction.finally_ if transaction else ():
            callback(committed)
