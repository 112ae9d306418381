"""The built-in long-term memory: one SQLite file, found by words (FTS5), and by vectors where there is an embedder.

    memory = await open_memory("memory.db")

All items of a selection are compared with a query's vector, exactly; that does for some ten thousand of them (a quarter
of a second of processor time for 10,000 of 384 numbers), and for more there are memories with an index for vectors.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from functools import partial

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
from opspawn.errors import NotFound
from opspawn.memories import finding, items, removing, writing
from opspawn.memories.asking import GRACE_S, check_added, check_limit, position_of, way_of
from opspawn.memories.embedding import vectors_of
from opspawn.memories.ranking import Further, Reranker, pool, reranked
from opspawn.memories.rows import COLUMNS, item_of, where
from opspawn.memories.searching import Search
from opspawn.memories.working import Threads, offer


async def open_memory(
    path: str,
    *,
    embedder: Embedder | None = None,
    reranker: Reranker | None = None,
    clock: Clock = SYSTEM_CLOCK,
    busy_timeout_s: float = 30.0,
) -> SqliteMemory:
    """Open a memory, making the file and its folder if they are missing.

    Args:
        path: a file, or ":memory:" for a memory that ends with the object.
        embedder: makes vectors; None to find by words alone. It is not closed with the memory.
        busy_timeout_s: how long to wait, in seconds, while another process writes.

    Raises: MemoryUnusable: the file cannot be used; the text says why.
    """
    threads = await asyncio.to_thread(Threads, path, busy_timeout_s)
    return SqliteMemory(threads, embedder, reranker, clock)


class SqliteMemory:
    """A long-term memory in one file. See `opspawn.contracts.memory.Memory`."""

    def __init__(self, threads: Threads, embedder: Embedder | None, reranker: Reranker | None, clock: Clock) -> None:
        self._threads = threads
        self._embedder = embedder
        self._reranker = reranker
        self._clock = clock

    def _now(self) -> int:
        return round(self._clock.time() * 1_000_000)

    # -- keeping -------------------------------------------------------------------------------------------------------

    async def add(self, items: Sequence[MemoryItem], *, duplicates: Duplicates = "merge") -> list[Added]:
        if not items:
            return []
        check_added(items, duplicates)
        self._threads.check()
        vectors = await self._vectors([item.text for item in items])
        now, model = self._now(), self._model

        def work(connection: sqlite3.Connection) -> list[Added]:
            if vectors is not None:
                writing.take_embedder(connection, str(model), len(vectors[0]))
            return [
                writing.add(connection, item, None if vectors is None else vectors[n], model, now, duplicates)
                for n, item in enumerate(items)
            ]

        return await self._threads.write(work)

    async def update(self, namespace: Namespace, id: str, change: Change) -> MemoryItem:
        before = await self.get(namespace, id)
        if before is None:
            raise NotFound("memory", id)
        changed = items.changed(before, change)
        vectors = await self._vectors([changed.text]) if changed.text != before.text else None
        now, model = self._now(), self._model

        def work(connection: sqlite3.Connection) -> MemoryItem:
            if vectors is not None:
                writing.take_embedder(connection, str(model), len(vectors[0]))
            return writing.update(
                connection, namespace, id, change, None if vectors is None else vectors[0], model, now
            )

        item = await self._threads.write(work)
        if changed.text != before.text:
            await self._threads.tidy(removing.wipe)
        return item

    async def _vectors(self, texts: list[str]) -> list[list[float]] | None:
        return None if self._embedder is None else await vectors_of(self._embedder, texts)

    @property
    def _model(self) -> str | None:
        return None if self._embedder is None else self._embedder.model

    # -- finding -------------------------------------------------------------------------------------------------------

    async def get(self, namespace: Namespace, id: str) -> MemoryItem | None:
        select = Selection(namespace, ids=(id,))
        found = await self._items(select, 1, None)
        await self._used(found)
        return found[0][1] if found else None

    async def items(self, select: Selection, *, limit: int = 100, cursor: str | None = None) -> MemoryPage:
        check_limit(limit)
        before = position_of(cursor)
        found = await self._items(select, limit + 1, before)
        more = str(found[limit - 1][0]) if len(found) > limit else None
        return MemoryPage(tuple(item for _, item in found[:limit]), more)

    async def _items(self, select: Selection, limit: int, before: int | None) -> list[tuple[int, MemoryItem]]:
        condition, values = where(select, self._now())
        if before is not None:
            condition, values = f"{condition} AND i.seq < ?", [*values, before]
        sql = f"SELECT {COLUMNS} FROM items i WHERE {condition} ORDER BY i.seq DESC LIMIT ?"

        def work(connection: sqlite3.Connection) -> list[tuple[int, MemoryItem]]:
            return [(row[0], item_of(row)) for row in connection.execute(sql, [*values, limit])]

        return await self._threads.read(work, select.filter)

    async def search(self, query: MemoryQuery) -> list[Hit]:
        self._threads.check()
        mode, vector = await way_of(query, self._embedder, vectors_of)
        asked = Search(query, mode, vector, str(self._model), self._now())
        most = pool(query.limit)
        found = await self._threads.read(
            lambda connection: asked.candidates(connection, Further(most)), query.select.filter
        )
        candidates = await reranked(self._reranker, query.text, [one.candidate for one in found])
        hits = await asyncio.to_thread(asked.hits, candidates)
        more = None if self._reranker is not None else await asyncio.to_thread(asked.further, hits, candidates, most)
        if more is not None:
            others = await self._threads.read(
                lambda connection: asked.candidates(connection, more), query.select.filter
            )
            found = [*{one.seq: one for one in (*others, *found)}.values()]
            hits = await asyncio.to_thread(asked.hits, [one.candidate for one in found])
        seqs = {id(one.candidate.item): one.seq for one in found}
        await self._used([(seqs[id(hit.item)], hit.item) for hit in hits])
        return hits

    async def _used(self, found: Sequence[tuple[int, MemoryItem]]) -> None:
        """Items that are refreshed by use live on from now."""
        now = self._now()
        fresh = [(now + round(item.ttl_s * 1e6), seq) for seq, item in found if item.refresh and item.ttl_s]
        if fresh:
            sql = "UPDATE items SET expires = max(expires, ?) WHERE seq = ?"
            await self._threads.write(lambda connection: connection.executemany(sql, fresh))

    # -- forgetting ----------------------------------------------------------------------------------------------------

    async def forget(self, select: Selection) -> int:
        now = self._now()
        condition, values = where(select, now)

        def work(connection: sqlite3.Connection) -> int:
            offer(connection, select.filter)
            rows = connection.execute(f"SELECT i.seq FROM items i WHERE {condition}", values).fetchall()
            removing.remove(connection, [seq for (seq,) in rows])
            removing.remove(connection, removing.expired(connection, now))
            return len(rows)

        count = await self._threads.write(work)
        await self._threads.tidy(removing.wipe)
        return count

    # -- the whole -----------------------------------------------------------------------------------------------------

    async def stats(self, select: Selection) -> MemoryStats:
        condition, values = where(Selection(select.namespace, below=select.below), self._now())
        return await self._threads.read(lambda connection: finding.stats(connection, condition, values))

    async def reembed(self, on_progress: OnProgress | None = None) -> int:
        model, batch = self._model, max(1, self._embedder.batch) if self._embedder is not None else MAX_ITEMS
        await self._threads.write(lambda connection: writing.change_embedder(connection, model))
        done = 0
        while model is not None:
            left, some = await self._threads.read(lambda connection: finding.without_vector(connection, model, batch))
            if not some:
                break
            vectors = await self._vectors([text for _, text in some])
            assert vectors is not None
            made = [(*one, vector) for one, vector in zip(some, vectors, strict=True)]
            await self._threads.write(partial(writing.set_vectors, model=model, made=made))
            done += len(some)
            if on_progress is not None:
                on_progress(done, done + left - len(some))
        await self._threads.tidy(removing.wipe)
        return done

    async def purge(self) -> int:
        return await self._purge(self._now() - round(GRACE_S * 1_000_000))

    async def _purge(self, until: int) -> int:
        if not await self._threads.read(lambda connection: removing.expired(connection, until)):
            return 0

        def work(connection: sqlite3.Connection) -> int:
            seqs = removing.expired(connection, until)
            removing.remove(connection, seqs)
            return len(seqs)

        count = await self._threads.write(work)
        await self._threads.tidy(removing.wipe)
        return count

    async def compact(self, on_progress: OnProgress | None = None) -> None:
        tell = on_progress or (lambda done, all: None)
        tell(0, 3)
        await self._purge(self._now())
        tell(1, 3)
        await self._threads.tidy(removing.shrink)
        tell(2, 3)
        await self._threads.tidy(removing.wipe)
        tell(3, 3)

    async def aclose(self) -> None:
        await self._threads.aclose()
