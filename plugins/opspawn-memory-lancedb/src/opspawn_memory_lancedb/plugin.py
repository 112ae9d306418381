"""Registers the memory, `memory = "lancedb"`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from opspawn.contracts.memory import Embedder, Memory
from opspawn.contracts.plugins import MemoryPlugin
from opspawn.hookspecs import hookimpl
from opspawn_memory_lancedb.settings import LanceConfig


async def open_section(section: Any, data: str, embedder: Embedder | None) -> Memory:
    """Open the memory of a section. Raises: MemoryUnusable."""
    # lancedb takes seconds to import, which the event loop should not wait for.
    module = await asyncio.to_thread(import_module, "opspawn_memory_lancedb.memory")
    memory: Memory = await module.open_memory(_place(section, data), data=data, embedder=embedder, config=section)
    return memory


def nothing_yet(section: Any, data: str) -> str | None:
    """What is missing where nothing has been remembered yet; None for an object store, where it is not looked."""
    place = _place(section, data)
    if "://" in place or Path(place).exists():
        return None
    return f"Nothing is remembered in {place} yet."


def _place(section: LanceConfig, data: str) -> str:
    return section.uri or str(Path(data) / "memory.lance")


@hookimpl
def opspawn_memories() -> Iterable[MemoryPlugin]:
    """The memory with indexes, `memory = "lancedb"`."""
    yield MemoryPlugin(
        "lancedb",
        open_section,
        LanceConfig,
        "A LanceDB table: found by words and by vectors, with indexes, also on object stores.",
        nothing_yet,
    )
