"""The memory on LanceDB keeps every promise."""

from __future__ import annotations

from pathlib import Path

from opspawn.contracts.clock import Clock
from opspawn.contracts.memory import Embedder, Memory
from opspawn.testing import MemoryContract
from opspawn_memory_lancedb.memory import open_memory


class TestLanceMemory(MemoryContract):
    async def open_memory(self, place: Path, *, clock: Clock, embedder: Embedder | None) -> Memory:
        return await open_memory(str(place / "memory.lance"), clock=clock, embedder=embedder)
