"""The memory on LanceDB: one table, found by words (BM25), and by vectors where there is an embedder.

    memory = await open_memory("memory.lance")

Few items are compared one by one, which is exact; from `index_from` vectors on an index chooses those that are
compared, still by their whole vectors. Nothing of lancedb runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.memory import (
    KEEP,
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
from opspawn.errors import MemoryFailed, NotFound
from opspawn.memories.asking import check_added, check_limit, position_of, way_of
from opspawn.memories.items import changed, moment
from opspawn.memories.ranking import Reranker, pool, ranked, reranked
from opspawn_memory_lancedb import finding, removing
from opspawn_memory_lancedb.finding import Found
from opspawn_memory_lancedb.rows import item_of, row_of
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.table import Table, open_table
from opspawn_memory_lancedb.tending import Tender
from opspawn_memory_lancedb.vectors import Vector, units_of
from opspawn_memory_lancedb.writing import Add, Call, Entry, Writer, check, replace_rows

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

    Raises: MemoryUnusable: it cannot be used; the text says why.
    """
    config = config or LanceConfig()
    options = {name: value.get_secret_value() for name, value in config.storage_options.items()}
    table = await asyncio.to_thread(open_table, uri, data, options, config.busy_timeout_s)
    return LanceMemory(table, config, embedder, reranker, clock)


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
        self._tender = Tender(table, config)
        self._writer = Writer(table, self._tender.written)
        self._readers = ThreadPoolExecutor(_READERS, "opspawn-memory-reader")
        self._closed = False

    def _now(self) -> int:
        return round(self._clock.time() * 1_000_000)

    async def _read(self, work: Callable[[], T]) -> T:
        self._refuse_closed()
        return await asyncio.shield(asyncio.wrap_future(self._readers.submit(work)))

    async def _write(self, work: Callable[[], T], *, wipes: bool = False) -> T:
        """What `work()` does, alone among writers; if it wipes, also alone among those who make indexes."""
        self._refuse_closed()
        table = self._table

        def locked() -> T:
            if not wipes:
                with table.writing.held(table.busy_timeout_s):
                    return work()
            with table.tending.held(table.busy_timeout_s), table.writing.held(table.busy_timeout_s):
                return work()

        done: Future[T] = Future()
        self._writer.put(Call(locked, done))
        return await asyncio.shield(asyncio.wrap_future(done))

    def _refuse_closed(self) -> None:
        if self._closed:
            raise MemoryFailed("The memory is closed.")

    # -- keeping -------------------------------------------------------------------------------------------------------

    async def add(self, items: Sequence[MemoryItem], *, duplicates: Duplicates = "merge") -> list[Added]:
        if not items:
            return []
        check_added(items, duplicates)
        self._refuse_closed()
        vectors = await self._vectors([item.text for item in items])
        dim = 0 if vectors is None else len(vectors[0])
        done: Future[list[Added]] = Future()
        self._writer.put(Add(items, vectors, self._model, dim, duplicates, self._now(), done))
        return await asyncio.shield(asyncio.wrap_future(done))

    async def update(self, namespace: Namespace, id: str, change: Change) -> MemoryItem:
        before = await self._one(namespace, id)
        if before is None:
            raise NotFound("memory", id)
        text = changed(before.item, change).text
        vectors = await self._vectors([text]) if text != before.item.text else None
        now = self._now()

        def work() -> MemoryItem:
            sql = finding.condition(self._table, Selection(namespace, ids=(id,)), now)
            if not (found := finding.newest(self._table, sql, 1)):
                raise NotFound("memory", id)
            item = replace(changed(found[0].item, change), updated=moment(now))
            if change.ttl_s is not KEEP:
                expires = None if item.ttl_s is None else moment(now) + timedelta(seconds=item.ttl_s)
                item = replace(item, expires=expires)
            kept = self._table.kept()
            if vectors is not None:
                check(kept, str(self._model), len(vectors[0]))
            same = item.text == found[0].item.text
            vector = finding.vector(self._table, found[0].seq, kept) if same else None if not vectors else vectors[0]
            replace_rows(self._table, [Entry(row_of(item, found[0].seq), vector, item)], kept)
            self._table.sync()
            if not same:
                removing.wipe(self._table)
            return item

        return await self._write(work, wipes=text != before.item.text)

    async def _vectors(self, texts: list[str]) -> list[Vector] | None:
        return None if self._embedder is None else await units_of(self._embedder, texts)

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
        self._refuse_closed()
        mode, vector = await way_of(query, self._embedder, units_of)
        now = self._now()
        found = await self._read(partial(self._candidates, query, mode, vector, now))
        seqs = {id(one.item): seq for seq, one in found}
        told = await reranked(self._reranker, query.text, [one for _, one in found])
        at = datetime.fromtimestamp(now / 1_000_000, UTC)
        hits = await self._read(partial(ranked, query, told, at, by_words=mode != "vector"))
        await self._used([Found(seqs[id(hit.item)], hit.item) for hit in hits])
        return hits

    def _candidates(self, query: MemoryQuery, mode: str, vector: Vector | None, now: int) -> Any:
        table, most = self._table, pool(query.limit)
        kept = table.kept()
        if vector is not None:
            check(kept, str(self._model), len(vector))
        sql = finding.condition(table, query.select, now)
        words = finding.by_words(table, query.text, sql, most, kept) if mode != "vector" else None
        near = None
        if vector is not None and kept is not None:
            near = finding.by_vector(table, vector, sql, most, kept, self._config)
        return finding.candidates(words, near, vector, kept, most)

    async def _used(self, found: Sequence[Found]) -> None:
        """Items that are refreshed by use live on from now."""
        seqs = [str(one.seq) for one in found if one.item.refresh and one.item.ttl_s]
        if not seqs:
            return
        values = {"expires": f"greatest(expires, {self._now()} + cast(ttl_s * 1000000 as bigint))"}

        def work() -> None:
            where = f"seq in ({', '.join(seqs)})"
            self._table.do(lambda table: table.update(where=where, values_sql=values))
            self._table.sync()

        await self._write(work)

    # -- forgetting ----------------------------------------------------------------------------------------------------

    async def forget(self, select: Selection) -> int:
        now = self._now()

        def work() -> int:
            table = self._table
            sql = finding.condition(table, select, now)
            count = table.count(sql)
            removing.delete(table, f"({sql}) or expires <= {now}")
            removing.wipe(table)
            self._tender.begin()
            return count

        return await self._write(work, wipes=True)

    # -- the whole -----------------------------------------------------------------------------------------------------

    async def stats(self, select: Selection) -> MemoryStats:
        now = self._now()

        def work() -> MemoryStats:
            table = self._table
            kept = table.kept()
            sql = finding.condition(table, Selection(select.namespace, below=select.below), now)
            vectors = 0 if kept is None else table.count(f"{sql} and {kept.column} is not null")
            model, dim = (None, None) if kept is None else (kept.model, kept.dim)
            return MemoryStats(table.count(sql), finding.namespaces(table, sql), table.size(), model, dim, vectors)

        return await self._read(work)

    async def reembed(self, on_progress: OnProgress | None = None) -> int:
        model = self._model
        await self._write(partial(self._change_embedder, model), wipes=True)
        done = 0
        while model is not None:
            kept, left, some = await self._read(self._without_vector)
            if not some:
                break
            vectors = await self._vectors([text for _, text in some])
            assert vectors is not None
            await self._write(partial(self._set_vectors, some, vectors, kept))
            done += len(some)
            if on_progress is not None:
                on_progress(done, done + left - len(some))
        if done:
            self._tender.begin()
        return done

    def _change_embedder(self, model: str | None) -> None:
        kept = self._table.kept()
        if kept is not None and kept.model != model:
            self._table.drop_vectors(kept)
            removing.wipe(self._table)

    def _without_vector(self) -> tuple[Any, int, list[tuple[int, str]]]:
        kept = self._table.kept()
        return kept, *finding.without_vector(self._table, kept, MAX_ITEMS)

    def _set_vectors(self, some: Sequence[tuple[int, str]], vectors: Sequence[Vector], kept: Any) -> None:
        """Give rows their vectors, but for those whose text has changed meanwhile."""
        model, dim = str(self._model), len(vectors[0])
        if kept is None:
            kept = self._table.kept()
        if kept is None:
            self._table.take_vectors(model, dim)
            kept = self._table.kept()
        check(kept, model, dim)
        made = {seq: (text, vector) for (seq, text), vector in zip(some, vectors, strict=True)}
        there = finding.whole(self._table, list(made))
        fresh = [Entry(row, made[row["seq"]][1], item_of(row)) for row in there if made[row["seq"]][0] == row["text"]]
        if fresh:
            replace_rows(self._table, fresh, kept)
            self._table.sync()

    async def compact(self) -> None:
        def work() -> None:
            with self._table.tending.held(self._table.busy_timeout_s):
                self._tender.tend()
                with self._table.writing.held(self._table.busy_timeout_s):
                    self._table.tidy_all()

        await self._read(work)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        self._tender.close()
