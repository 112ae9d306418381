"""The built-in memory: its file, its threads, and what happens to it when things go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.filters import And
from opspawn.contracts.memory import MemoryItem, MemoryQuery, Selection
from opspawn.errors import InvalidInput, MemoryFailed, MemoryUnusable
from opspawn.memories.sqlite import open_memory
from opspawn.testing import HashingEmbedder

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)

ENDLESS = """
import asyncio, sys
from opspawn.contracts.memory import MemoryItem
from opspawn.memories.sqlite import open_memory
from opspawn.testing import HashingEmbedder

async def main():
    memory = await open_memory(sys.argv[1], embedder=HashingEmbedder())
    for n in range(100_000):
        await memory.add([MemoryItem(f"Fact {n} of {sys.argv[2]}.", ("user:ada",))])
        print(n, flush=True)

asyncio.run(main())
"""


def _writer(path: str, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ENDLESS, path, name], stdout=subprocess.PIPE, text=True)


async def test_what_was_acknowledged_survives_the_death_of_those_who_wrote(tmp_path: Path) -> None:
    """Two processes write to one memory and are killed; each fact that either has told of is there, with its vector."""
    path = str(tmp_path / "memory.db")
    writers = [_writer(path, name) for name in ("one", "two")]
    told: list[str] = []
    for name, writer in zip(("one", "two"), writers, strict=True):
        assert writer.stdout is not None
        for _ in range(20):
            told.append(f"Fact {int(writer.stdout.readline())} of {name}.")
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()

    memory = await open_memory(path, embedder=HashingEmbedder())
    kept = {item.text for item in (await memory.items(EVERYTHING, limit=1000)).items}
    stats = await memory.stats(EVERYTHING)
    hits = await memory.search(MemoryQuery(told[0], Selection(ADA), limit=1))
    await memory.aclose()

    assert set(told) <= kept
    assert stats.vectors == stats.items
    assert hits[0].item.text == told[0]


async def test_a_file_that_is_no_memory_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_text("This is no database. " * 100)
    with pytest.raises(MemoryUnusable, match="not a database"):
        await open_memory(str(path))
    assert path.read_text().startswith("This is no database.")


async def test_the_database_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(MemoryUnusable, match="something else"):
        await open_memory(str(path))


async def test_a_memory_of_a_later_version_is_not_touched(tmp_path: Path) -> None:
    path = str(tmp_path / "memory.db")
    await (await open_memory(path)).aclose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(MemoryUnusable, match="layout is 99") as told:
        await open_memory(path)
    assert told.value.remedy == "Upgrade opspawn-core: a later version wrote it."


async def test_a_damaged_memory_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    memory = await open_memory(str(path))
    await memory.add([MemoryItem(f"Fact {n} " * 50, ADA) for n in range(200)])
    await memory.aclose()
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
    path.write_bytes(bytes(data))
    with pytest.raises(MemoryUnusable, match=r"damaged|malformed"):
        await open_memory(str(path))


async def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryUnusable, match="cannot be used"):
        await open_memory(str(tmp_path / "file" / "memory.db"))


async def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """What does not fit fails, whole; once there is room it goes on."""
    memory = await open_memory(str(tmp_path / "memory.db"))
    await memory.add([MemoryItem("Kept.", ADA)])
    await memory._threads.tidy(lambda connection: connection.execute("PRAGMA max_page_count = 40").fetchone())
    with pytest.raises(MemoryFailed, match="full"):
        await memory.add([MemoryItem(f"{n} " * 5000, ADA) for n in range(50)])
    await memory._threads.tidy(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
    await memory.add([MemoryItem("More.", ADA)])

    assert [item.text for item in (await memory.items(EVERYTHING)).items] == ["More.", "Kept."]
    await memory.aclose()


async def test_a_memory_in_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = await open_memory(":memory:", embedder=HashingEmbedder())
    await memory.add([MemoryItem("Ada likes tea.", ADA)])
    hits = await memory.search(MemoryQuery("tea", Selection(ADA)))
    await memory.forget(EVERYTHING)
    await memory.aclose()

    assert [hit.item.text for hit in hits] == ["Ada likes tea."]
    assert os.listdir(tmp_path) == []


async def test_a_reranker_has_the_last_word(tmp_path: Path) -> None:
    class Longest:
        async def rerank(self, query: str, texts: list[str]) -> list[float]:
            return [len(text) / 100 for text in texts]

    memory = await open_memory(":memory:", reranker=Longest())  # type: ignore[arg-type]
    await memory.add([MemoryItem("Tea.", ADA), MemoryItem("Tea and a long walk.", ADA)])
    hits = await memory.search(MemoryQuery("tea", Selection(ADA)))
    await memory.aclose()

    assert [(hit.item.text, hit.score) for hit in hits] == [("Tea and a long walk.", 0.2), ("Tea.", 0.04)]


async def test_the_same_text_is_embedded_once_and_in_batches() -> None:
    embedder = HashingEmbedder(batch=2)
    memory = await open_memory(":memory:", embedder=embedder)
    await memory.add([MemoryItem(text, ADA) for text in ("One.", "Two.", "One.", "Three.")])
    await memory.aclose()
    assert embedder.asked == ["One.", "Two.", "Three."]
    assert not embedder.closed


@pytest.mark.parametrize("name", ["subject", "session"])
def test_an_empty_name_chooses_nothing(name: str) -> None:
    empty: dict[str, Any] = {name: ""}
    named: dict[str, Any] = {name: "x"}
    with pytest.raises(InvalidInput, match=f"{name} is empty") as caught:
        Selection(ADA, **empty)
    assert f'{{"field": "@{name}", "exists": false}}' in str(caught.value.remedy)
    assert not Selection(ADA).chosen
    assert not Selection(ADA, filter=And(())).chosen
    assert Selection(ADA, **named).chosen


class Hanging(HashingEmbedder):
    """An embedder that answers, until it does not any more."""

    hangs = False

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().embed(texts)


async def test_an_embedder_that_does_not_answer_leaves_the_words_and_fails_adds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("asking.QUERY_S", "embedding._PATIENCE_S", "embedding._EACH_S"):
        monkeypatch.setattr(f"opspawn.memories.{name}", 0.01)
    embedder = Hanging()
    memory = await open_memory(str(tmp_path / "memory.db"), embedder=embedder)
    await memory.add([MemoryItem("Ada likes tea.", ADA)])
    embedder.hangs = True

    [hit] = await memory.search(MemoryQuery("tea", Selection(ADA)))
    assert (hit.why.words, hit.why.distance) == (("tea",), None)
    with pytest.raises(MemoryFailed, match=r"has not answered within 0\.01 s"):
        await memory.search(MemoryQuery("tea", Selection(ADA), mode="vector"))
    with pytest.raises(MemoryFailed, match=r"has not answered within 0\.02 s") as caught:
        await memory.add([MemoryItem("Bob hates tea.", ADA)])
    assert "its server" in str(caught.value.remedy)
    assert (await memory.stats(EVERYTHING)).items == 1
    await memory.aclose()
