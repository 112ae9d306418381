"""The log: what was added is there at once, for everybody, once, and whatever happens before it is in the table."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.errors import MemoryFailed
from opspawn.testing import HashingEmbedder
from opspawn_memory_lancedb.memory import LanceMemory, open_memory

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)


async def opened(place: Path) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"), embedder=HashingEmbedder(16))


async def texts(memory: LanceMemory) -> list[str]:
    return [item.text for item in (await memory.items(EVERYTHING, limit=1000)).items]


def log_in(place: Path) -> Path:
    [log] = (place / "memory.lance/added").iterdir()
    return log


def _until_gone(path: Path) -> None:
    while path.exists():
        time.sleep(0.02)


async def test_what_another_has_only_in_its_log_is_found(tmp_path: Path) -> None:
    """And it goes on in a log of its own."""
    memory, other = await opened(tmp_path), await opened(tmp_path)
    await memory.add([MemoryItem("One.", ADA)])
    waited = log_in(tmp_path).stat().st_size
    [hit] = await other.search(MemoryQuery("One.", EVERYTHING))
    await memory.add([MemoryItem("Two.", ADA)])
    kept = await texts(other)
    await memory.aclose()
    await other.aclose()
    assert (waited > 0, hit.item.text, kept) == (True, "One.", ["Two.", "One."])


async def test_an_id_that_another_has_added_is_known(tmp_path: Path) -> None:
    """However often they take turns, and though neither looks at the table while it writes alone."""
    both = [await opened(tmp_path), await opened(tmp_path)]
    new = []
    for n in range(3):
        for one in both:
            added = await one.add([MemoryItem(f"Fact {n}.", ADA, f"i-{n}"), MemoryItem(f"Fact {n}b.", ADA)])
            new.append([each.new for each in added])
    kept = await texts(both[0])
    for one in both:
        await one.aclose()
    assert new == [[True, True], [False, False]] * 3
    assert len(kept) == 6


async def test_an_entry_that_is_not_whole_was_never_told_of(tmp_path: Path) -> None:
    """Whoever finds it leaves it out, and keeps those before it."""
    memory = await opened(tmp_path)
    await memory.add([MemoryItem("One.", ADA)])
    whole = log_in(tmp_path).read_bytes()
    as_it_is = shutil.copytree(tmp_path, tmp_path / "copy")
    for n, rest in enumerate((b"\x07", whole[: len(whole) // 2], whole[:-1] + b"?")):
        place = tmp_path / str(n)
        shutil.copytree(as_it_is, place)
        log_in(place).write_bytes(whole + rest)
        found = await opened(place)
        assert await texts(found) == ["One."]
        await found.aclose()
    await memory.aclose()


def many(name: str) -> list[MemoryItem]:
    """So many that their vectors go to the disk ahead of them."""
    return [MemoryItem(f"Fact {n} of {name}.", ADA) for n in range(200)]


async def with_vectors(place: Path) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"), embedder=HashingEmbedder(512))


async def test_many_rows_and_their_vectors_are_one_entry_in_two_parts(tmp_path: Path) -> None:
    """Where the second is missing or damaged, the first counts for nothing, for what comes after it, too."""
    memory = await with_vectors(tmp_path)
    await memory.add(many("one"))
    first = log_in(tmp_path).read_bytes()
    await memory.add(many("two"))
    both = log_in(tmp_path).read_bytes()
    as_it_is = shutil.copytree(tmp_path, tmp_path / "copy")
    [size] = struct.unpack_from("<Q", both, len(first))
    second = len(first) + 12 + size  # where the rest of the second begins
    assert size > 200 * 512 * 4
    told = []
    for n, left in enumerate((both, both[:second], both[:-1] + b"?", both[:second] + first, first[:-9])):
        place = tmp_path / str(n)
        shutil.copytree(as_it_is, place)
        log_in(place).write_bytes(left)
        found = await with_vectors(place)
        stats = await found.stats(EVERYTHING)
        told.append((stats.items, stats.vectors))
        if stats.items == 400:
            text = many("two" if n == 0 else "one")[77].text
            [hit] = await found.search(MemoryQuery(text, EVERYTHING, limit=1, mode="vector"))
            assert (hit.item.text, round(hit.score, 3)) == (text, 1.0)
        await found.aclose()
    await memory.aclose()
    assert told == [(400, 400), (200, 200), (200, 200), (400, 400), (0, 0)]


async def test_vectors_that_the_disk_refuses_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the sync of the rest is told to have done well, as a system says of a fault once only."""
    memory = await with_vectors(tmp_path)
    await memory.add([MemoryItem("Before.", ADA)])

    def sync(file: int) -> None:
        monkeypatch.undo()
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fdatasync", sync)
    with pytest.raises(MemoryFailed, match="cannot be written"):
        await memory.add(many("one"))
    await memory.add([MemoryItem("After.", ADA)])
    kept = await texts(memory)
    await memory.aclose()
    assert kept == ["After.", "Before."]


async def test_a_log_that_is_already_in_the_table_is_not_added_again(tmp_path: Path) -> None:
    """As when a process dies between the two."""
    memory = await opened(tmp_path)
    await memory.add([MemoryItem(f"Fact {n}.", ADA) for n in range(5)])
    log = log_in(tmp_path)
    copy = log.read_bytes()
    before = await texts(memory)
    log.write_bytes(copy)
    after = await texts(memory)
    left = log.exists()
    await memory.aclose()
    assert (len(before), after, left) == (5, before, False)


async def test_rows_go_into_the_table_by_themselves(tmp_path: Path) -> None:
    """After a moment, and when the memory closes."""
    memory = await opened(tmp_path)
    await memory.add([MemoryItem("One.", ADA)])
    log = log_in(tmp_path)
    await asyncio.to_thread(_until_gone, log)
    await memory.add([MemoryItem("Two.", ADA)])
    last = log_in(tmp_path)
    await memory.aclose()
    assert not last.exists()


async def test_the_fault_of_one_add_is_not_that_of_others(tmp_path: Path) -> None:
    """They were gathered into one call of the embedder."""

    class Choosy(HashingEmbedder):
        async def embed(self, texts):  # type: ignore[no-untyped-def]
            if "Bad." in texts:
                raise ValueError("no")
            return await super().embed(texts)

    memory = await open_memory(str(tmp_path / "memory.lance"), embedder=Choosy(16))
    said = ("One.", "Bad.", "Two.")
    told = await asyncio.gather(*(memory.add([MemoryItem(text, ADA)]) for text in said), return_exceptions=True)
    kept = await texts(memory)
    await memory.aclose()
    assert [isinstance(one, ValueError) for one in told] == [False, True, False]
    assert sorted(kept) == ["One.", "Two."]


async def test_an_add_returns_when_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not before: each time, the log is synced after it was written."""
    synced: list[int] = []
    really = os.fdatasync

    def sync(file: int) -> None:
        really(file)
        synced.append(os.fstat(file).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)
    memory = await opened(tmp_path)
    sizes = []
    for n in range(3):
        await memory.add([MemoryItem(f"Fact {n}.", ADA)])
        sizes.append(log_in(tmp_path).stat().st_size)
    await memory.aclose()
    assert synced == sizes


async def test_many_return_when_the_disk_has_both_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told is made while the disk has to do, and nobody hears it before."""
    synced: list[int] = []
    really = os.fdatasync

    def sync(file: int) -> None:
        time.sleep(0.05)
        really(file)
        synced.append(os.fstat(file).st_size)

    memory = await with_vectors(tmp_path)
    monkeypatch.setattr(os, "fdatasync", sync)
    await memory.add(many("one"))
    by_then, size = list(synced), log_in(tmp_path).stat().st_size
    await memory.aclose()
    assert (len(by_then), by_then[-1]) == (2, size)
