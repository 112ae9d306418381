"""Settling: rows of the logs become rows of the table, many at once, beside the writer.

To write rows into the table costs as much as to add them. So while somebody adds and nobody reads, some full logs wait,
and whoever adds has the processors and the disk alone; only with more of them, logs are settled beside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from loguru import logger

from opspawn import details
from opspawn.contracts.store import Finding
from opspawn.errors import MemoryFailed
from opspawn_memory_lancedb.entries import Left, left_in
from opspawn_memory_lancedb.faults import as_failed, told
from opspawn_memory_lancedb.log import Begun, Log, Logs
from opspawn_memory_lancedb.packing import with_item
from opspawn_memory_lancedb.table import Table
from opspawn_memory_lancedb.terms import with_terms

T = TypeVar("T")
#: A log with so much is full.
MOST_ROWS = 32_768
MOST_BYTES = 64 << 20
#: So many full logs wait for somebody to read, or for a moment without adds. With twice as many, who adds waits.
PUT_OFF = 4
#: From so many bytes on it is worth to have them synced beside.
_WORTH = 1 << 18
_LOOK_S = 0.1


class Settler:
    """The logs of one process, and its way to settle those of all. Its callers hold `writing`."""

    def __init__(self, table: Table, settled: Callable[[int], None]) -> None:
        """`settled` hears how many rows came into the table."""
        self._table = table
        self._settled = settled
        self._logs = None if table.place is None else Logs(table.place / "added")
        self._open: Log | None = None
        self._sealed: list[Log] = []
        self._thread = ThreadPoolExecutor(1, "opspawn-memory-settler")
        self._maker = ThreadPoolExecutor(1, "opspawn-memory-maker")
        self._running: Future[bool] | None = None
        self._fewer = threading.Event()
        self.tell_of_damage()

    def tell_of_damage(self) -> None:
        """Say in the log of the program which logs are set aside: they may hold what is missing, or was forgotten."""
        for path in [] if self._logs is None else self._logs.aside():
            logger.bind(memory="lancedb").warning(
                "The damaged log {} is still there; forgetting takes nothing out of it. Restore what is missing, and "
                "remove the file.",
                path,
            )

    def check(self) -> list[Finding]:
        """What an operator should know of the logs."""
        return [
            Finding(
                "warning",
                f"The damaged log {path} was set aside: what could not be read of it is lost, and forgetting takes "
                "nothing out of it.",
                "Restore what is missing from a backup or an export, then remove that file.",
            )
            for path in ([] if self._logs is None else self._logs.aside())
        ]

    def waiting(self) -> bool:
        """Whether rows of anybody wait. Any thread may ask."""
        return self._logs is not None and self._logs.any()

    def begin(self, columns: pa.Table) -> Begun | None:
        """Have the first columns of rows on their way to the disk, to be given to `append`; None where they are too few
        for that to pay. Raises: MemoryFailed.
        """
        if self._logs is None or columns.nbytes < _WORTH:
            return None
        try:
            return self._log(self._logs).begin(columns)
        except OSError as error:
            raise self._failed(error) from error

    def append(self, rows: pa.Table, begun: Begun | None, meanwhile: Callable[[], T]) -> T:
        """Keep new rows, and return what `meanwhile` does; they are on the disk then. Raises: MemoryFailed."""
        if self._logs is None:
            self._into(rows)
            return meanwhile()
        if self._running is not None and self._running.done() and not self._await():
            self.settle()  # what failed in the background is told here
        try:
            log = self._log(self._logs)
            done = log.append(rows, begun if begun is not None and begun.log is log else None, meanwhile)
        except OSError as error:
            raise self._failed(error) from error
        if log.rows >= MOST_ROWS or log.size >= MOST_BYTES:
            self._seal()
            if len(self._sealed) >= PUT_OFF and self._running is None:
                self._running = self._thread.submit(self._beside)
            self._wait_for_fewer(2 * PUT_OFF)
        return done

    def rest(self, then: Callable[[], None]) -> None:
        """Have all rows of this process be settled beside, since nobody adds just now; then call `then`."""
        self._seal()
        self._running = self._thread.submit(self._beside, then)

    def _wait_for_fewer(self, most: int) -> None:
        while len(self._sealed) >= most and self._running is not None and not self._running.done():
            self._fewer.clear()
            if len(self._sealed) >= most:
                self._fewer.wait(_LOOK_S)

    def _log(self, logs: Logs) -> Log:
        if self._open is None:
            # One that will wait can be read again; and memory that was just in use is quicker than more of it.
            self._open = logs.new(holds=not self._sealed)
        return self._open

    def _failed(self, error: OSError) -> MemoryFailed:
        self._seal()
        return MemoryFailed(f"The memory cannot be written: {told(error)}.")

    def settle(self) -> None:
        """Have the table know all rows, also those of others. Raises: MemoryFailed."""
        if self._logs is None:
            return
        self._await()
        self._seal()
        if not self._logs.any():
            return
        with self._table.settling.held(self._table.busy_timeout_s):
            self._settle_own()
            for path in self._logs.paths():
                self._take(path, left_in(path), asked=True)

    def abandon(self) -> None:
        """Leave the logs to whoever reads the folder: somebody else has written since, and has perhaps settled them."""
        self._await()
        self._seal()
        while self._sealed:
            self._sealed.pop().close()

    def close(self) -> None:
        """End the threads."""
        self._thread.shutdown()
        self._maker.shutdown()
        self.abandon()
        if self._logs is not None:
            self._logs.close()

    def _await(self) -> bool:
        """Wait for what is done beside; False if that failed."""
        running, self._running = self._running, None
        return running is None or running.result()

    def _seal(self) -> None:
        if self._open is not None:
            self._sealed.append(self._open)
            self._open = None

    def _beside(self, then: Callable[[], None] = lambda: None) -> bool:
        try:
            with as_failed(), self._table.settling.held(self._table.busy_timeout_s):
                self._settle_own()
        except MemoryFailed as error:
            details.debug("Rows stay in the log for now: {}", error, memory="lancedb")
            return False
        finally:
            self._fewer.set()
        then()
        return True

    def _settle_own(self) -> None:
        next_left: Future[Left] | None = None
        while self._sealed:
            log = self._sealed[0]
            left = _left_of(log) if next_left is None else next_left.result()
            # The rows of the next are made while these are written.
            next_left = self._maker.submit(_left_of, self._sealed[1]) if len(self._sealed) > 1 else None
            asked, log.asked = log.asked, True
            self._take(log.path, left, asked=asked)
            log.close()
            self._sealed.pop(0)
            self._fewer.set()

    def _take(self, path: Path, left: Left, *, asked: bool) -> None:
        """Have the table know what is left in a log, and remove that, or set it aside if it is damaged."""
        assert self._logs is not None
        self._give(left.rows, asked=asked)
        if not left.damaged:
            path.unlink(missing_ok=True)
            return
        logger.bind(memory="lancedb").error(
            "A log of this memory is damaged: {} rows of it could be read and are kept, {} bytes could not, and what "
            "was added in these is lost. It was set aside as {}. Restore what is missing, and remove that file.",
            0 if left.rows is None else len(left.rows),
            left.damaged,
            self._logs.set_aside(path),
        )

    def _give(self, rows: pa.Table | None, *, asked: bool) -> None:
        """Have the table know these rows. `asked` says that it may know them already: they are added all or none."""
        if rows is not None and not (asked and self._are_there(rows)):
            self._into(rows)

    def _into(self, rows: pa.Table) -> None:
        whole = whole_rows(rows)
        self._table.change(lambda lance: lance.add(whole))
        self._settled(len(rows))

    def _are_there(self, rows: pa.Table) -> bool:
        seqs: Any = rows["seq"].to_pylist()
        there = self._table.rows(f"seq >= {min(seqs)} and seq <= {max(seqs)}", ["seq"])["seq"].to_pylist()
        return not set(seqs).isdisjoint(there)


def _left_of(log: Log) -> Left:
    """What is in a log of this process, as the table has it; nothing if somebody else has settled it."""
    if not log.rows or not log.path.exists():
        return Left(None)
    left = Left(pa.concat_tables(log.tables)) if log.tables else left_in(log.path)
    return left if left.rows is None else Left(whole_rows(left.rows), left.damaged)


def whole_rows(rows: pa.Table) -> pa.Table:
    """Kept rows as the table has them, with all that follows from what they say."""
    return with_item(with_terms(rows))
