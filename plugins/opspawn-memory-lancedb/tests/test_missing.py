"""Files that are gone: said in one line, and never taken for a memory that has less in it."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.memory import Change, MemoryItem, MemoryQuery, Selection
from opspawn.errors import MemoryFailed, MemoryUnusable
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.opening import open_table

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)


async def opened(place: Path) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"))


@pytest.fixture
async def kept(tmp_path: Path) -> Path:
    """The folder of a memory with two items, each of which came with a version."""
    memory = await opened(tmp_path)
    for text in ("One.", "Two."):
        await memory.add([MemoryItem(text, ADA)])
        await memory.items(EVERYTHING)
    await memory.aclose()
    return tmp_path / "memory.lance"


async def test_a_memory_whose_latest_version_is_gone_is_not_opened(kept: Path) -> None:
    """LanceDB would open the one before, and what came since would be forgotten in silence."""
    latest = min((kept / "items.lance/_versions").glob("*.manifest"))
    latest.unlink()
    with pytest.raises(
        MemoryUnusable, match=r"version \d+ of its table is missing, and the latest there is \d+"
    ) as told:
        await open_memory(str(kept))
    (kept / "items.version").unlink()
    memory = await open_memory(str(kept))
    left = await memory.items(EVERYTHING)
    await memory.aclose()
    assert "remove " + str(kept / "items.version") in str(told.value.remedy)
    assert [item.text for item in left.items] == ["One."]


async def test_a_memory_whose_table_is_gone_is_not_begun_anew(kept: Path) -> None:
    shutil.rmtree(kept / "items.lance")
    with pytest.raises(MemoryUnusable, match="of its table is missing, and there is none"):
        await open_memory(str(kept))


async def test_logs_without_a_table_are_not_given_to_a_new_one(kept: Path) -> None:
    shutil.rmtree(kept / "items.lance")
    (kept / "items.version").unlink()
    (kept / "added/1.log").write_bytes(b"something")
    with pytest.raises(MemoryUnusable, match="its table is missing, though 1 logs of added items are there"):
        await open_memory(str(kept))
    assert not (kept / "items.lance").exists()


@pytest.mark.parametrize("gone", ["", "added"])
async def test_a_folder_that_goes_while_it_is_used_is_told_of(kept: Path, gone: str) -> None:
    """By every call, and as an error of the memory."""
    memory = await open_memory(str(kept))
    shutil.rmtree(kept / gone)
    calls: list[Awaitable[Any]] = [
        memory.search(MemoryQuery("one", EVERYTHING)),
        memory.items(EVERYTHING),
        memory.add([MemoryItem("Three.", ADA)]),
        memory.update(ADA, "x", Change(subject="Ada")),
        memory.forget(EVERYTHING),
        memory.stats(EVERYTHING),
        memory.compact(),
    ]
    told: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    await memory.aclose()
    assert [type(one) for one in told] == [MemoryFailed] * len(calls)
    assert "its folder is there" in str(told[0].remedy)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EROFS, "Have its folder be writable"), (errno.ENOSPC, "Make room on its disk")],
)
def test_the_remedy_is_that_of_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def mkdir(self: Path, **_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(MemoryUnusable) as told:
        open_table(str(tmp_path / "memory.lance"), "", {}, 1.0)
    assert str(told.value.remedy).startswith(words)
