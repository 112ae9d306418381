"""One search in the built-in memory: from a query to its hits."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.memory import Hit, MemoryQuery
from opspawn.memories import finding
from opspawn.memories.items import moment, stamp
from opspawn.memories.ranking import Candidate, Further, further, fused, ranked
from opspawn.memories.rows import where


@dataclass(frozen=True, slots=True)
class Search:
    """A query, how it is asked ("text", "vector", "hybrid"), its vector and whose that is, and the time."""

    query: MemoryQuery
    mode: str
    vector: Sequence[float] | None
    model: str
    now: int

    def candidates(self, connection: sqlite3.Connection, wanted: Further) -> list[finding.Found]:
        """Those that may be nearest. Raises: EmbedderMismatch."""
        condition, values = self._where(wanted)
        words: list[int] = []
        if self.mode != "vector":
            words = finding.by_words(connection, self.query.text, wanted.most, condition, values)
        cosines: dict[int, float] = {}
        if self.vector is not None:
            cosines = finding.cosines(connection, self.vector, self.model, condition, values)
        nearest = sorted(cosines, key=lambda seq: (-cosines[seq], -seq))[: wanted.most]
        best = fused(words, [seq for seq in nearest if cosines[seq] > 0])[: 2 * wanted.most]
        return finding.candidates(connection, best, cosines)

    def _where(self, wanted: Further) -> tuple[str, list[Any]]:
        condition, values = where(self.query.select, self.now)
        told: list[Any] = list(values)
        if wanted.confidence:
            condition, told = f"{condition} AND i.confidence >= ?", [*told, wanted.confidence]
        if wanted.since is not None:
            condition, told = f"{condition} AND i.updated >= ?", [*told, stamp(wanted.since)]
        return condition, told

    def hits(self, found: Sequence[Candidate]) -> list[Hit]:
        """The hits among candidates, best first."""
        return ranked(self.query, found, moment(self.now), by_words=self.mode != "vector")

    def further(self, hits: Sequence[Hit], found: Sequence[Candidate], most: int) -> Further | None:
        """What to look for once more."""
        return further(self.query, hits, found, most, moment(self.now), by_words=self.mode != "vector")
