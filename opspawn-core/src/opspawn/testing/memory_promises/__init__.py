"""The promises of a long-term memory by chapter, and the few words in which they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.clock import Clock
from opspawn.contracts.memory import Embedder, Hit, Memory, MemoryItem, MemoryQuery, Namespace, Selection
from opspawn.testing.hashing import HashingEmbedder

ADA: Namespace = ("agent:helper", "user:ada")
BOB: Namespace = ("agent:helper", "user:bob")
EVERYTHING = Selection((), below=True)


class Hands:
    """A clock that a test moves."""

    virtual = False

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


class MemorySuite:
    """What a memory is tested with. `two` has the promises of several at once on one place; False leaves them out."""

    two = True

    async def open_memory(self, place: Path, *, clock: Clock, embedder: Embedder | None) -> Memory:
        """Open a memory that keeps what it keeps in the folder `place`, which is empty at first."""
        raise NotImplementedError("Give the suite open_memory.")

    @pytest.fixture
    def clock(self) -> Hands:
        return Hands()

    @pytest.fixture(params=["words", "vectors"])
    def embedder(self, request: pytest.FixtureRequest) -> HashingEmbedder | None:
        """Most promises hold with and without an embedder."""
        return HashingEmbedder() if request.param == "vectors" else None

    @pytest.fixture
    async def memory(self, tmp_path: Path, clock: Hands, embedder: HashingEmbedder | None) -> AsyncIterator[Memory]:
        opened = await self.open_memory(tmp_path, clock=clock, embedder=embedder)
        yield opened
        await opened.aclose()


async def keep(memory: Memory, *texts: str, namespace: Namespace = ADA, **fields: Any) -> list[MemoryItem]:
    """Keep texts, and return the items."""
    added = await memory.add([MemoryItem(text, namespace, **fields) for text in texts], duplicates="keep")
    return [one.item for one in added]


async def find(memory: Memory, text: str, namespace: Namespace = ADA, **query: Any) -> list[Hit]:
    """Search in a namespace."""
    return list(await memory.search(MemoryQuery(text, Selection(namespace), **query)))


async def texts(memory: Memory, select: Selection = EVERYTHING) -> list[str]:
    """All texts, the newest first."""
    return [item.text for item in (await memory.items(select, limit=1000)).items]


def said(hits: Sequence[Hit]) -> list[str]:
    return [hit.item.text for hit in hits]
