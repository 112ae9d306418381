"""One search: from a query to its hits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from opspawn.contracts.memory import Hit, MemoryQuery
from opspawn.memories.items import moment, stamp
from opspawn.memories.ranking import Candidate, Further, Reranker, further, pool, ranked, reranked
from opspawn_memory_lancedb import finding
from opspawn_memory_lancedb.finding import Found
from opspawn_memory_lancedb.settings import LanceConfig
from opspawn_memory_lancedb.table import Table
from opspawn_memory_lancedb.vectors import Vector
from opspawn_memory_lancedb.writing import check


@dataclass(frozen=True, slots=True)
class Search:
    """A query, how it is asked ("text", "vector", "hybrid"), its vector and whose that is, and the time."""

    query: MemoryQuery
    mode: str
    vector: Vector | None
    model: str
    now: int

    def hits(self, table: Table, config: LanceConfig) -> list[Found]:
        """The hits, best first. Few candidates do, unless something else than their vectors orders them."""
        most = pool(self.query.limit)
        if self.mode == "vector" and not self.query.recency and not self.query.confidence:
            few = self.query.limit + max(5, self.query.limit if self.query.distinct else 0)
            found = self.candidates(table, config, few)
            hits = self._ranked(found)
            if len(hits) == self.query.limit or len(found) < few:
                return _placed(hits, found)
        found = self.candidates(table, config, most)
        hits = self._ranked(found)
        more = further(self.query, hits, [one for _, one in found], most, self._at, by_words=self.mode != "vector")
        if more is not None:
            others = self.candidates(table, config, more.most, more)
            found = list({seq: (seq, one) for seq, one in (*others, *found)}.values())
            hits = self._ranked(found)
        return _placed(hits, found)

    async def reranked(self, found: list[tuple[int, Candidate]], reranker: Reranker) -> list[Found]:
        """The hits among candidates that a reranker has read."""
        told = await reranked(reranker, self.query.text, [one for _, one in found])
        return _placed(self._ranked([(seq, one) for (seq, _), one in zip(found, told, strict=True)]), found)

    def candidates(
        self, table: Table, config: LanceConfig, most: int, among: Further | None = None
    ) -> list[tuple[int, Candidate]]:
        """The best by words, and by vector, each at most so many. Raises: EmbedderMismatch."""
        kept = table.kept()
        if self.vector is not None:
            check(kept, self.model, len(self.vector))
        sql = finding.condition(table, self.query.select, self.now)
        if among is not None and among.confidence:
            sql = f"{sql} and confidence >= {among.confidence!r}"
        if among is not None and among.since is not None:
            sql = f"{sql} and created >= {stamp(among.since)}"  # of changes there is no column
        words = None if self.mode == "vector" else finding.by_words(table, self.query.text, sql, most, kept)
        near = None
        if self.vector is not None and kept is not None:
            near = finding.by_vector(table, self.vector, sql, most, kept, config)
        return finding.candidates(words, near, self.vector, kept, most)

    def _ranked(self, found: list[tuple[int, Candidate]]) -> list[Hit]:
        return ranked(self.query, [one for _, one in found], self._at, by_words=self.mode != "vector")

    @property
    def _at(self) -> datetime:
        return moment(self.now)


def _placed(hits: list[Hit], found: list[tuple[int, Candidate]]) -> list[Found]:
    seqs = {id(one.item): seq for seq, one in found}
    return [Found(seqs[id(hit.item)], hit.item, hit) for hit in hits]
