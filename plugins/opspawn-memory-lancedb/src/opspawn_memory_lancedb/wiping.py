"""What writes files anew waits for those who make indexes, and for writers. It has a thread of its own, so that nobody
who reads waits for it; and all that waits to forget is forgotten in one pass.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from opspawn.errors import OpspawnError
from opspawn_memory_lancedb import removing
from opspawn_memory_lancedb.faults import as_failed
from opspawn_memory_lancedb.table import Table
from opspawn_memory_lancedb.tending import Tender
from opspawn_memory_lancedb.writing import Writer

#: How much is done in one pass at most.
_MOST = 100


@dataclass(slots=True)
class _Asked:
    work: Callable[[], Any]
    #: Whether it takes rows out, of which nothing may be left.
    forgets: bool
    done: Future[Any] = field(default_factory=Future)


class Wiper:
    """The one thread that does what needs both locks."""

    def __init__(self, table: Table, tender: Tender, writer: Writer, forgotten: Callable[[], None]) -> None:
        """`forgotten` is called when nothing is left of what was taken out."""
        self._table = table
        self._tender = tender
        self._writer = writer
        self._forgotten = forgotten
        self._waiting: deque[_Asked] = deque()
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "opspawn-memory-wiper")

    def call(self, work: Callable[[], Any], *, forgets: bool = False) -> Future[Any]:
        """Have `work()` done, alone among all who write or make indexes."""
        asked = _Asked(work, forgets)
        with self._guard:
            self._waiting.append(asked)
            self._thread.submit(self._go)
        return asked.done

    def close(self) -> None:
        """Do what waits, and end."""
        self._thread.shutdown()

    def _go(self) -> None:
        with self._guard:
            some = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        if not some:
            return
        try:
            self._tender.finish()
            with as_failed(), self._table.tending.held(self._table.busy_timeout_s):
                done: Future[list[Any]] = self._writer.call(lambda: self._pass(some))
                results = done.result()
        except BaseException as error:
            results = [error] * len(some)
        for one, result in zip(some, results, strict=True):
            if isinstance(result, BaseException):
                one.done.set_exception(result)
            else:
                one.done.set_result(result)

    def _pass(self, some: list[_Asked]) -> list[Any]:
        """What each gives, or its error. The writer calls this."""
        results: list[Any] = []
        for one in some:
            try:
                results.append(one.work())
            except OpspawnError as error:
                results.append(error)
        if any(one.forgets for one in some):
            removing.wipe(self._table)
            self._forgotten()
        return results
