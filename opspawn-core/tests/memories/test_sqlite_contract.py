"""The built-in memory keeps every promise."""

from __future__ import annotations

from pathlib import Path

from opspawn.contracts.clock import Clock
from opspawn.contracts.memory import Embedder, Memory
from opspawn.memories.sqlite import open_memory
from opspawn.testing import MemoryContract


class TestSqliteMemory(MemoryContract):
    async def open_memory(self, place: Path, *, clock: Clock, embedder: Embedder | None) -> Memory:
        return await open_memory(str(place / "memory.db"), clock=clock, embedder=embedder)
