"""Keeping the table fast, in the background, by one process at a time.

Small files are merged, indexes made and brought up to date, earlier versions removed. Writers and readers go on
meanwhile; losing a race with them only means to try again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from opspawn import details
from opspawn.contracts.memory import OnProgress
from opspawn.errors import MemoryFailed
from opspawn_memory_lancedb.conditions import ALL
from opspawn_memory_lancedb.faults import as_failed
from opspawn_memory_lancedb.lance import Bitmap, BTree, IvfSq
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.table import PARTS, Table, parts_of

#: Where looking up ids row by row costs more than an index.
_KEYS_FROM = 10_000
#: After how many new rows it is time as soon as nobody adds any more.
_MANY = 5_000
#: An index of vectors is made anew when the items are so many times more.
_GROWN = 4
#: How many vectors a part of it has. LanceDB joins smaller parts to this size whenever it brings an index up to date.
_PART = 4096


class Tender:
    """One thread, which works when enough was written."""

    def __init__(self, table: Table, config: LanceConfig) -> None:
        self._table = table
        self._config = config
        self._thread = ThreadPoolExecutor(1, "opspawn-memory-tender")
        self._guard = threading.Lock()
        self._versions = self._rows = 0
        self._running: Future[None] | None = None

    def written(self, rows: int) -> None:
        """So many rows came into the table: look whether it is time."""
        self._versions += 1
        self._rows += rows
        if self._versions >= self._config.compact_every:
            self.begin()

    def idle(self) -> None:
        """Nobody adds just now: so much may have come that it is time."""
        if self._rows >= _MANY:
            self.begin()

    def begin(self) -> None:
        """Work in the background, unless that is going on."""
        with self._guard:
            if self._running is None or self._running.done():
                self._versions = self._rows = 0
                self._running = self._thread.submit(self._quietly)

    def finish(self) -> None:
        """Wait for what is going on: an index of many vectors takes longer than anybody waits for a lock."""
        with self._guard:
            running = self._running
        if running is not None:
            running.result()

    def close(self) -> None:
        """Finish what is going on, and end."""
        self._thread.shutdown(cancel_futures=True)

    def _quietly(self) -> None:
        try:
            with as_failed(), self._table.tending.if_free() as free:
                if free:
                    self.tend()
        except MemoryFailed as error:
            details.debug("The memory is brought in order later: {}", error, memory="lancedb")

    def tend(self, done: Callable[[], None] = lambda: None) -> None:
        """Bring it in order, and call `done` after each of the two steps of that. The caller holds `tending`.

        Raises: MemoryFailed: somebody else changed it meanwhile.
        """
        self._table.tidy(self._config.keep_versions_s)
        done()
        indexes = self._table.indexes()
        count = self._table.count(ALL)
        for column, config in (("key", BTree()), ("same", BTree()), ("space", Bitmap())):
            if count >= _KEYS_FROM and column not in indexes:
                self._table.create_index(column, config)
        self._index_vectors(indexes)
        done()

    def _index_vectors(self, indexes: dict[str, str]) -> None:
        kept = self._table.kept()
        if kept is None:
            return
        count = self._table.count(f"{kept.column} is not null")
        if count < self._config.index_from:
            return
        name = indexes.get(kept.column)
        if name is not None and count < _GROWN * parts_of(name) * _PART:
            return
        parts = max(1, round(count / _PART))
        config: Any = IvfSq(distance_type="cosine", num_partitions=parts)
        if name is not None:
            self._table.drop_index(kept.column)
        self._table.create_index(kept.column, config, name=f"{PARTS}{parts}")


class Steps:
    """Tells the event loop how many steps of a long work are done; any thread may call `done`."""

    def __init__(self, on_progress: OnProgress | None, all: int) -> None:
        self._on_progress = on_progress
        self._loop = asyncio.get_running_loop()
        self._count, self._all = -1, all
        self.done()

    def done(self) -> None:
        """One more is done."""
        self._count += 1
        if self._on_progress is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody listens
                self._loop.call_soon_threadsafe(self._on_progress, self._count, self._all)
