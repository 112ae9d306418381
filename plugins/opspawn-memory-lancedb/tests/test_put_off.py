"""Full logs wait while somebody adds: they are found by whoever reads, bounded, and lose nothing."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from opspawn.contracts.memory import MemoryItem, Selection
from opspawn.errors import MemoryFailed
from opspawn_memory_lancedb import gathering, settling
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.settling import Settler

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)


@pytest.fixture(autouse=True)
def small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of two rows, of which three wait, however long nobody adds."""
    monkeypatch.setattr(settling, "MOST_ROWS", 2)
    monkeypatch.setattr(settling, "PUT_OFF", 3)
    monkeypatch.setattr(gathering, "_IDLE_S", 600.0)


async def opened(place: Path) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"))


async def add(memory: LanceMemory, *numbers: int) -> None:
    for n in numbers:
        await memory.add([MemoryItem(f"Fact {n} a.", ADA), MemoryItem(f"Fact {n} b.", ADA)])


async def texts(memory: LanceMemory) -> list[str]:
    return sorted(item.text for item in (await memory.items(EVERYTHING, limit=100)).items)


def told(*numbers: int) -> list[str]:
    return sorted(f"Fact {n} {which}." for n in numbers for which in "ab")


def logs(place: Path) -> list[Path]:
    return sorted((place / "memory.lance/added").glob("*.log"))


async def test_full_logs_wait_until_somebody_reads(tmp_path: Path) -> None:
    """And whoever comes after a process that is gone finds what is in them."""
    memory = await opened(tmp_path)
    await add(memory, 1, 2)
    waiting = len(logs(tmp_path))
    shutil.copytree(tmp_path, tmp_path / "copy")
    kept = await texts(memory)
    await memory.aclose()
    heir = await opened(tmp_path / "copy")
    left = await texts(heir)
    await heir.aclose()
    assert (waiting, kept, left) == (2, told(1, 2), told(1, 2))


async def test_only_the_log_that_is_settled_first_is_in_memory(tmp_path: Path) -> None:
    """Those behind it can be read again, also the one that is written now."""
    memory = await opened(tmp_path)
    await add(memory, 1, 2)
    await memory.add([MemoryItem("Fact 3 a.", ADA)])
    settler = memory._settler
    assert settler._open is not None
    held = [sum(map(len, log.tables)) for log in (*settler._sealed, settler._open)]
    kept = await texts(memory)
    await memory.aclose()
    assert (held, kept) == ([2, 0, 0], sorted([*told(1, 2), "Fact 3 a."]))


async def test_more_than_some_go_into_the_table_beside(tmp_path: Path) -> None:
    """All that are full; with one after them nothing is lost."""
    memory = await opened(tmp_path)
    await add(memory, 1, 2, 3)
    await asyncio.to_thread(_until_none, tmp_path)
    await add(memory, 4)
    left = len(logs(tmp_path))
    kept = await texts(memory)
    await memory.aclose()
    assert (left, kept) == (1, told(1, 2, 3, 4))


async def test_twice_as_many_make_those_who_add_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the table is, no more logs than that are there."""
    really = Settler._into

    def slowly(self: Settler, rows: object) -> None:
        time.sleep(0.05)
        really(self, rows)

    memory = await opened(tmp_path)
    monkeypatch.setattr(Settler, "_into", slowly)
    most = 0
    for n in range(12):
        await add(memory, n)
        most = max(most, len(logs(tmp_path)))
    kept = await texts(memory)
    await memory.aclose()
    assert most <= 6
    assert kept == told(*range(12))


async def test_what_cannot_go_into_the_table_beside_is_told_by_an_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes there as soon as it can."""

    def refused(self: Settler, rows: object) -> None:
        raise MemoryFailed("The memory cannot do its work: no.")

    memory = await opened(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Settler, "_into", refused)
        await add(memory, 1, 2, 3)
        await asyncio.to_thread(memory._settler._thread.submit(bool).result)
        with pytest.raises(MemoryFailed, match="cannot do its work"):
            await add(memory, 4)
    kept = await texts(memory)
    await memory.aclose()
    assert kept == told(1, 2, 3)


async def test_a_log_that_is_damaged_while_it_waits_is_set_aside(tmp_path: Path) -> None:
    """The log that is settled first is still in memory; those after it are read again."""
    memory = await opened(tmp_path)
    await add(memory, 1, 2)
    second = logs(tmp_path)[1]
    whole = bytearray(second.read_bytes())
    whole[200] ^= 1
    second.write_bytes(whole)
    kept = await texts(memory)
    found = await memory.check()
    await memory.aclose()
    assert kept == told(1)
    assert str(second.with_suffix(".damaged")) in found[0].what


def _until_none(place: Path) -> None:
    while logs(place):
        time.sleep(0.01)
