"""The memory on LanceDB: one table, found by words (BM25), and by vectors where there is an embedder.

    memory = await open_memory("memory.lance")

Few items are compared one by one, which is exact; from `index_from` vectors on an index chooses those that are
compared, still by their whole vectors. Nothing of lancedb runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from loguru import logger

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.memory import (
    MAX_ITEMS,
    Added,
    Change,
    Duplicates,
    Embedder,
    Hit,
    MemoryItem,
    MemoryPage,
    MemoryQuery,
    MemoryStats,
    Namespace,
    OnProgress,
    Selection,
)
from opspawn.contracts.store import Finding
from opspawn.errors import MemoryFailed, NotFound
from opspawn.memories.asking import GRACE_S, check_added, check_limit, position_of, way_of
from opspawn.memories.items import changed
from opspawn.memories.process import Process
from opspawn.memories.ranking import Reranker, pool
from opspawn_memory_lancedb import changing, finding, reembedding, removing
from opspawn_memory_lancedb.caching import Cache, cached_units
from opspawn_memory_lancedb.faults import as_failed
from opspawn_memory_lancedb.finding import Found
from opspawn_memory_lancedb.gathering import Gatherer
from opspawn_memory_lancedb.opening import open_table
from opspawn_memory_lancedb.rerankers import reranker_of
from opspawn_memory_lancedb.searching import Search
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.settling import Settler
from opspawn_memory_lancedb.table import Table
from opspawn_memory_lancedb.tending import Steps, Tender
from opspawn_memory_lancedb.vectors import Vector, Vectors, units_of
from opspawn_memory_lancedb.wiping import Wiper
from opspawn_memory_lancedb.writing import Writer

T = TypeVar("T")
_READERS = 4


async def open_memory(
    uri: str,
    *,
    data: str = "",
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
    clock: Clock = SYSTEM_CLOCK,
    config: LanceConfig | None = None,
) -> LanceMemory:
    """Open a memory, making it if it is missing.

    Args:
        uri: a folder, or an address of an object store that LanceDB knows.
        data: a folder of this machine for the locks, where `uri` is an object store.
        embedder: makes vectors; None to find by words alone. It is not closed with the memory.
        reranker: reads what was found once more; None for the one that `config` names, if any.

    Raises: ConfigError: there is no such reranker. MemoryUnusable: it cannot be used; the text says why.
    """
    config = config or LanceConfig()
    options = {name: value.get_secret_value() for name, value in config.storage_options.items()}
    vectors = None if embedder is None or embedder.dim is None else (embedder.model, embedder.dim)
    table = await asyncio.to_thread(open_table, uri, data, options, config.busy_timeout_s, vectors)
    return LanceMemory(table, config, embedder, reranker or reranker_of(config.reranker), clock)


class LanceMemory:
    """A long-term memory in a table of LanceDB. See `opspawn.contracts.memory.Memory`."""

    def __init__(
        self, table: Table, config: LanceConfig, embedder: Embedder | None, reranker: Reranker | None, clock: Clock
    ) -> None:
        self._table = table
        self._config = config
        self._embedder = embedder
        self._reranker = reranker
        self._clock = clock
        self._cache: Cache | None = None
        if config.embedding_cache and table.place is not None:
            self._cache = Cache(table.place, config.embedding_cache)
        self._tender = Tender(table, config)
        self._settler = Settler(table, self._tender.written)
        self._writer = Writer(table, self._settler)
        self._wiper = Wiper(table, self._tender, self._writer, self._forgotten)
        self._gatherer = Gatherer(self._writer, self._vectors, lambda: self._model, self._now, self._tender.idle)
        self._readers = ThreadPoolExecutor(_READERS, "opspawn-memory-reader")
        self._process = Process()
        self._closed = False

    def _now(self) -> int:
        return round(self._clock.time() * 1_000_000)

    async def _read(self, work: Callable[[], T]) -> T:
        """What `work()` reads, with all that was added in the table."""
        self._check_usable()

        def settled() -> T:
            with as_failed():
                if self._settler.waiting():
                    self._writer.call(lambda: None).result()
                return work()

        return await _result(self._readers.submit(settled))

    async def _write(self, work: Callable[[], T], *, wipes: bool = False) -> T:
        """What `work()` does, alone among writers; if it wipes, also alone among those who make indexes."""
        self._check_usable()
        return await _result(self._wiper.call(work) if wipes else self._writer.call(work))

    def _check_usable(self) -> None:
        """Each call comes by here before anything else."""
        self._process.check()
        if self._closed:
            raise MemoryFailed("The memory is closed.")

    # -- keeping -------------------------------------------------------------------------------------------------------

    async def add(self, items: Sequence[MemoryItem], *, duplicates: Duplicates = "merge") -> list[Added]:
        if not items:
            return []
        check_added(items, duplicates)
        self._check_usable()
        return await self._gatherer.add(items, duplicates)

    async def update(self, namespace: Namespace, id: str, change: Change) -> MemoryItem:
        before = await self._one(namespace, id)
        if before is None:
            raise NotFound("memory", id)
        text = changed(before.item, change).text
        vectors = await self._vectors([text]) if text != before.item.text else None
        now = self._now()

        made = None if vectors is None else (str(self._model), vectors[0])

        def work() -> MemoryItem:
            entry = changing.change(self._table, namespace, id, change, now, made)
            self._writer.note(entry.key, entry.same)
            return entry.item

        return await self._write(work, wipes=text != before.item.text)

    async def _vectors(self, texts: list[str]) -> Vectors | None:
        return None if self._embedder is None else await self._units(self._embedder, texts)

    async def _units(self, embedder: Embedder, texts: Sequence[str]) -> Vectors:
        if self._cache is None:
            return await units_of(embedder, texts)
        return await cached_units(self._cache, embedder, texts)

    async def _each(self, embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
        return list(await self._units(embedder, texts))

    @property
    def _model(self) -> str | None:
        return None if self._embedder is None else self._embedder.model

    # -- finding -------------------------------------------------------------------------------------------------------

    async def get(self, namespace: Namespace, id: str) -> MemoryItem | None:
        found = await self._one(namespace, id)
        if found is None:
            return None
        await self._used([found])
        return found.item

    async def _one(self, namespace: Namespace, id: str) -> Found | None:
        found = await self._newest(Selection(namespace, ids=(id,)), 1)
        return found[0] if found else None

    async def items(self, select: Selection, *, limit: int = 100, cursor: str | None = None) -> MemoryPage:
        check_limit(limit)
        before = position_of(cursor)
        found = await self._newest(select, limit + 1, before)
        more = str(found[limit - 1].seq) if len(found) > limit else None
        return MemoryPage(tuple(one.item for one in found[:limit]), more)

    async def _newest(self, select: Selection, limit: int, before: int | None = None) -> list[Found]:
        now = self._now()

        def work() -> list[Found]:
            sql = finding.condition(self._table, select, now)
            return finding.newest(self._table, sql if before is None else f"{sql} and seq < {before}", limit)

        return await self._read(work)

    async def search(self, query: MemoryQuery) -> list[Hit]:
        self._check_usable()
        mode, vector = await way_of(query, self._embedder, self._each)
        asked = Search(query, mode, vector, str(self._model), self._now())
        if self._reranker is None:
            found = await self._read(partial(asked.hits, self._table, self._config))
        else:
            near = partial(asked.candidates, self._table, self._config, pool(query.limit))
            found = await asked.reranked(await self._read(near), self._reranker)
        await self._used(found)
        return [one.hit for one in found if one.hit is not None]

    async def _used(self, found: Sequence[Found]) -> None:
        """Items that are refreshed by use live on from now."""
        seqs = [one.seq for one in found if one.item.refresh and one.item.ttl_s]
        if not seqs:
            return
        await self._write(partial(changing.refresh, self._table, seqs, self._now()))

    # -- forgetting ----------------------------------------------------------------------------------------------------

    async def forget(self, select: Selection) -> int:
        now = self._now()

        def work() -> int:
            sql = finding.condition(self._table, select, now)
            count = self._table.count(sql)
            if count or self._table.expiring:
                removing.delete(self._table, f"({sql}) or expires <= {now}")
            return count

        self._check_usable()
        return await _result(self._wiper.call(work, forgets=True))

    def _forgotten(self) -> None:
        self._settler.tell_of_damage()
        self._tender.begin()

    async def purge(self) -> int:
        return await self._purge(self._now() - round(GRACE_S * 1_000_000))

    async def _purge(self, until: int) -> int:
        table, sql = self._table, f"expires <= {until}"

        def work() -> int:
            if (count := table.count(sql)) > 0:  # unless another process was first
                removing.delete(table, sql)
                removing.wipe(table)
                self._tender.begin()
            return count

        return await self._write(work, wipes=True) if await self._read(partial(table.count, sql)) else 0

    # -- the whole -----------------------------------------------------------------------------------------------------

    async def stats(self, select: Selection) -> MemoryStats:
        now = self._now()

        def work() -> MemoryStats:
            table = self._table
            kept = table.kept()
            sql = finding.condition(table, Selection(select.namespace, below=select.below), now)
            vectors = 0 if kept is None else table.count(f"{sql} and {kept.column} is not null")
            model, dim = (None, None) if kept is None else (kept.model, kept.dim)
            size = None if table.disk is None else table.disk.size()
            return MemoryStats(table.count(sql), finding.namespaces(table, sql), size, model, dim, vectors)

        return await self._read(work)

    async def reembed(self, on_progress: OnProgress | None = None) -> int:
        model, table = self._model, self._table
        await self._write(partial(reembedding.change_embedder, table, model), wipes=True)
        done = 0
        while model is not None:
            kept, left, some = await self._read(partial(reembedding.without_vector, table, MAX_ITEMS))
            if not some:
                break
            vectors = await self._vectors([text for _, text in some])
            assert vectors is not None
            await self._write(partial(reembedding.set_vectors, table, model, some, vectors, kept))
            done += len(some)
            if on_progress is not None:
                on_progress(done, done + left - len(some))
        if done:
            self._tender.begin()
        return done

    async def compact(self, on_progress: OnProgress | None = None) -> None:
        self._check_usable()
        steps = Steps(on_progress, 4)
        await self._purge(self._now())
        steps.done()

        def work() -> None:
            self._tender.finish()
            with self._table.tending.held(self._table.busy_timeout_s):
                self._tender.tend(steps.done)
                with self._table.writing.held(self._table.busy_timeout_s):
                    self._table.tidy_all()
            self._settler.tell_of_damage()
            steps.done()

        await self._read(work)

    async def check(self) -> Sequence[Finding]:
        return await self._read(self._settler.check)

    async def aclose(self) -> None:
        if self._closed or self._process.is_child():
            return
        self._closed = True
        await self._gatherer.aclose()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._readers.shutdown()
        self._wiper.close()
        left = self._writer.call(lambda: None)
        self._writer.close()
        if (error := left.exception()) is not None:
            logger.bind(memory="lancedb").warning("What was added last stays in the log until the next time: {}", error)
        self._settler.close()
        self._tender.close()


async def _result(work: Future[T]) -> T:
    """What a thread gives; whoever no longer waits does not break it off."""
    return await asyncio.shield(asyncio.wrap_future(work))
