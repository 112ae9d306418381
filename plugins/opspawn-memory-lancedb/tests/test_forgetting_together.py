"""Many who forget at once: they go together, and nobody who reads waits for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.errors import MemoryFailed
from opspawn_memory_lancedb import removing
from opspawn_memory_lancedb.locks import FileLock
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.table import Table

EVERYTHING = Selection((), below=True)


async def opened(place: Path) -> LanceMemory:
    memory = await open_memory(str(place / "memory.lance"))
    await memory.add([MemoryItem(f"Fact of {n}.", (f"user:{n}",)) for n in range(20)])
    await memory.compact()
    return memory


async def test_who_reads_does_not_wait_for_those_who_forget(tmp_path: Path) -> None:
    """However many they are, and however long another process makes them wait."""
    memory = await opened(tmp_path)
    with FileLock(tmp_path / "memory.lance/tending.lock").held(5):
        forgetting = [asyncio.ensure_future(memory.forget(Selection((f"user:{n}",)))) for n in range(12)]
        await asyncio.sleep(0.05)
        hits = await memory.search(MemoryQuery("fact", EVERYTHING, limit=100, distinct=False))
        waiting = sum(not one.done() for one in forgetting)
    counts = await asyncio.gather(*forgetting)
    left = await memory.items(EVERYTHING)
    await memory.aclose()
    assert (len(hits), waiting, counts, len(left.items)) == (20, 12, [1] * 12, 8)


async def test_what_is_forgotten_at_once_is_forgotten_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are written anew once for all that waited; each hears its own number."""
    memory = await opened(tmp_path)
    passes = 0
    really = removing.wipe

    def wipe(table: Table) -> None:
        nonlocal passes
        passes += 1
        really(table)

    monkeypatch.setattr(removing, "wipe", wipe)
    with FileLock(tmp_path / "memory.lance/tending.lock").held(5):
        forgetting = [asyncio.ensure_future(memory.forget(Selection((f"user:{n % 10}",)))) for n in range(12)]
        await asyncio.sleep(0.05)
    counts = await asyncio.gather(*forgetting)
    await memory.aclose()
    assert (counts, passes <= 2) == ([1] * 10 + [0] * 2, True)


async def test_the_fault_of_one_who_forgets_is_not_that_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = await opened(tmp_path)
    really = removing.delete

    def delete(table: Table, sql: str) -> None:
        monkeypatch.undo()
        raise MemoryFailed("no")

    monkeypatch.setattr(removing, "delete", delete)
    with FileLock(tmp_path / "memory.lance/tending.lock").held(5):
        forgetting = [asyncio.ensure_future(memory.forget(Selection((f"user:{n}",)))) for n in range(3)]
        await asyncio.sleep(0.05)
    told = await asyncio.gather(*forgetting, return_exceptions=True)
    left = await memory.items(EVERYTHING)
    await memory.aclose()
    assert removing.delete is really
    assert (str(told[0]), told[1:], len(left.items)) == ("no", [1, 1], 18)
