"""Writing. One thread writes; all adds that wait are kept together, and return when they are on the disk. Writers of
several processes take turns by a lock of the operating system.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from opspawn.contracts.memory import Added
from opspawn.errors import EmbedderMismatch
from opspawn_memory_lancedb.faults import as_failed
from opspawn_memory_lancedb.known import MOST as MOST_KNOWN
from opspawn_memory_lancedb.known import Known
from opspawn_memory_lancedb.plan import Add, Plan, replace_rows
from opspawn_memory_lancedb.rows import SCHEMA
from opspawn_memory_lancedb.settling import Settler
from opspawn_memory_lancedb.table import Kept, Table

#: How many items are kept together at most.
MOST = 20_000
#: Fewer rows than this are read whole, to know their numbers, as soon as something is added.
_FEW = 50_000
Result = list[Added] | EmbedderMismatch


@dataclass(slots=True)
class Asked:
    """An add, and who waits for it."""

    add: Add
    done: Future[list[Added]]


@dataclass(slots=True)
class Call:
    """Something else to do, alone, with the table whole if it `settles`."""

    work: Callable[[], Any]
    done: Future[Any]
    settles: bool = True


class Writer:
    """The one thread that writes."""

    def __init__(self, table: Table, settler: Settler) -> None:
        self._table = table
        self._settler = settler
        self._waiting: deque[Asked | Call] = deque()
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "opspawn-memory-writer")
        self._last = 0
        self._known: Known | None = None

    def put(self, one: Asked | Call) -> None:
        """Have it done; its future tells."""
        with self._guard:
            self._waiting.append(one)
            self._thread.submit(self._go)

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Have `work()` done with all rows in the table, alone among writers of all processes."""
        done: Future[Any] = Future()
        self.put(Call(work, done))
        return done

    def rest(self, then: Callable[[], None]) -> Future[Any]:
        """Have all rows come into the table beside whoever writes next, and `then` be called."""
        done: Future[Any] = Future()
        self.put(Call(lambda: self._settler.rest(then), done, settles=False))
        return done

    def close(self) -> None:
        """Do what waits, and end."""
        self._thread.shutdown()

    def note(self, key: int, same: int) -> None:
        """Know the numbers of a row that was changed. The caller is called by this."""
        if self._known is not None:
            self._known.add((key,), (same,))

    def _go(self) -> None:
        if not (some := self._taken()):
            return
        try:
            with as_failed(), self._table.writing.held(self._table.busy_timeout_s):
                self._begin()
                if isinstance(some[0], Call):
                    if some[0].settles:
                        self._settler.settle()
                    results: list[Any] = [some[0].work()]
                else:
                    results = self._add([one.add for one in some if isinstance(one, Asked)])
            for one, result in zip(some, results, strict=True):
                if isinstance(result, EmbedderMismatch):
                    one.done.set_exception(result)
                else:
                    one.done.set_result(result)
        except BaseException as error:
            self._known = None  # perhaps something was written all the same
            for one in some:
                if not one.done.done():
                    one.done.set_exception(error)

    def _taken(self) -> list[Asked | Call]:
        """What waits next: all adds up to something else."""
        some: list[Asked | Call] = []
        count = 0
        with self._guard:
            while self._waiting and count < MOST:
                if isinstance(self._waiting[0], Call) and some:
                    break
                one = self._waiting.popleft()
                some.append(one)
                if isinstance(one, Call):
                    break
                count += len(one.add.items)
        return some

    def _begin(self) -> None:
        """Whoever has not written last knows nothing for sure, and first settles what others have left."""
        if not self._table.last_writer.is_me():
            self._known = None
            self._settler.abandon()
            self._table.last_writer.sign()
            self._settler.settle()

    # -- adding --------------------------------------------------------------------------------------------------------

    def _add(self, adds: Sequence[Add]) -> list[Result]:
        kept = self._table.kept()
        fitting: list[Add] = []
        refused: dict[int, EmbedderMismatch] = {}
        for n, add in enumerate(adds):
            try:
                kept = self._kept(kept, add)
                fitting.append(add)
            except EmbedderMismatch as error:
                refused[n] = error
        told = iter(self._written(fitting, kept) if fitting else [])
        return [refused[n] if n in refused else next(told) for n in range(len(adds))]

    def _kept(self, kept: Kept | None, add: Add) -> Kept | None:
        """Whose vectors the table has, once this is in it. Raises: EmbedderMismatch."""
        if add.vectors is None:
            return kept
        model, dim = str(add.model), len(add.vectors[0])
        if kept is None or ((kept.model, kept.dim) != (model, dim) and not self._rows()):
            self._settler.settle()
            if kept is not None:
                self._table.drop_vectors(kept)
            self._table.take_vectors(model, dim)
            return self._table.kept()
        check(kept, model, dim)
        return kept

    def _rows(self) -> int:
        self._settler.settle()
        return self._table.rows_in_all

    def _written(self, adds: Sequence[Add], kept: Kept | None) -> list[list[Added]]:
        plan = Plan(self._table, kept, self._places, adds)
        self._know(sum(len(add.items) for add in adds))
        keys, sames = plan.suspects(self._known)
        if keys or sames:
            self._settler.settle()
            plan.look_up(keys, sames)
        vectors = plan.vectors(self._table.schema)
        begun = None if vectors is None else self._settler.begin(vectors)
        plan.work_out()
        new = plan.table(self._table.schema)

        def tell() -> list[list[Added]]:
            if self._known is not None:
                self._known.add(*plan.known())
            return plan.told()

        if plan.gone or plan.changed:
            self._settler.settle()
        if plan.gone:
            listed = ", ".join(map(str, plan.gone))
            self._table.change(lambda table: table.delete(f"seq in ({listed})"))
        if plan.changed:
            replace_rows(self._table, plan.changed, kept, new)
        elif new is not None:
            return self._settler.append(new, begun, tell)
        return tell()

    def _know(self, adding: int) -> None:
        """Know the numbers of all rows, if that is worth it for so many items, and nobody unseen can write."""
        if self._known is not None or self._table.place is None:
            return
        rows = self._table.rows_in_all
        if rows < _FEW or (rows < MOST_KNOWN and rows < 100 * adding):
            self._settler.settle()
            columns = self._table.rows("true", ["key", "same"]) if self._table.rows_in_all else SCHEMA.empty_table()
            self._known = Known(*(np.asarray(columns[name]) for name in ("key", "same")))

    def _places(self, count: int) -> int:
        """The first of so many numbers above all earlier ones, of any process, while their clocks go on."""
        first = max(self._last + 1, time.time_ns())
        self._last = first + count
        return first


def check(kept: Kept | None, model: str, dim: int) -> None:
    """Raises: EmbedderMismatch: the vectors are another's."""
    if kept is not None and (kept.model, kept.dim) != (model, dim):
        raise EmbedderMismatch(f"{kept.model!r} with {kept.dim} numbers", f"{model!r} with {dim}")
