"""The memory on LanceDB: its files, its processes, its indexes, and what happens to it when things go wrong."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.filters import Range
from opspawn.contracts.memory import Change, MemoryItem, MemoryQuery, Selection
from opspawn.errors import MemoryFailed, MemoryUnusable
from opspawn.testing import HashingEmbedder
from opspawn.testing.memory_promises.forgetting import traces
from opspawn_memory_lancedb.memory import LanceMemory, open_memory
from opspawn_memory_lancedb.settings import LanceConfig

ADA = ("user:ada",)
EVERYTHING = Selection((), below=True)

ENDLESS = """
import asyncio, sys
from opspawn.contracts.memory import MemoryItem
from opspawn_memory_lancedb.memory import open_memory
from opspawn.testing import HashingEmbedder

async def main():
    memory = await open_memory(sys.argv[1], embedder=HashingEmbedder(16))
    for n in range(100_000):
        items = [MemoryItem(f"Fact {n} of {sys.argv[2]}, part {part}.", ("user:ada",)) for part in range(2)]
        await asyncio.gather(*(memory.add([item]) for item in items))
        print(n, flush=True)

asyncio.run(main())
"""

FULL = """
import asyncio, resource, signal, sys
from opspawn.contracts.memory import MemoryItem, Selection
from opspawn.errors import MemoryFailed
from opspawn_memory_lancedb.memory import open_memory

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    memory = await open_memory(sys.argv[1])
    await memory.add([MemoryItem("Kept.", ("user:ada",))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        await memory.add([MemoryItem(f"{n} " * 5000, ("user:ada",)) for n in range(50)])
    except MemoryFailed as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await memory.add([MemoryItem("More.", ("user:ada",))])
    print([item.text for item in (await memory.items(Selection((), below=True))).items])
    await memory.aclose()

asyncio.run(main())
"""


async def opened(place: Path, **more: object) -> LanceMemory:
    return await open_memory(str(place / "memory.lance"), **more)  # type: ignore[arg-type]


async def texts(memory: LanceMemory) -> list[str]:
    return [item.text for item in (await memory.items(EVERYTHING, limit=1000)).items]


def _writer(place: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ENDLESS, str(place / "memory.lance"), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_what_was_acknowledged_survives_the_death_of_those_who_wrote(tmp_path: Path) -> None:
    """Two processes write to one memory and are killed; each fact that either has told of is there, with its vector."""
    names = ("one", "two")
    writers = [_writer(tmp_path, name) for name in names]
    told: list[str] = []
    for name, writer in zip(names, writers, strict=True):
        assert writer.stdout is not None
        for _ in range(8):
            n = int(writer.stdout.readline())
            told += [f"Fact {n} of {name}, part {part}." for part in range(2)]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()

    memory = await opened(tmp_path, embedder=HashingEmbedder(16))
    kept = await texts(memory)
    stats = await memory.stats(EVERYTHING)
    [hit] = await memory.search(MemoryQuery(told[0], Selection(ADA), limit=1))
    await memory.add([MemoryItem("And on it goes.", ADA)])
    await memory.aclose()

    assert set(told) <= set(kept)
    assert len(set(kept)) == len(kept)
    assert stats.vectors == stats.items
    assert hit.item.text == told[0]


async def test_adds_that_wait_go_into_one_version(tmp_path: Path) -> None:
    """However many they are: so that one at a time is nearly as fast as all at once."""
    memory = await opened(tmp_path)
    before = memory._table.lance.version
    await asyncio.gather(*(memory.add([MemoryItem(f"Fact {n}.", ADA)]) for n in range(200)))
    after = memory._table.lance.version
    kept = await texts(memory)
    await memory.aclose()

    assert len(kept) == 200
    assert after - before <= 10


async def test_one_that_is_refused_leaves_the_others_of_its_version(tmp_path: Path) -> None:
    memory = await opened(tmp_path, embedder=HashingEmbedder(16))
    await memory.add([MemoryItem("First.", ADA)])
    other = await opened(tmp_path, embedder=HashingEmbedder(8))
    both = (memory, other)
    told = await asyncio.gather(*(one.add([MemoryItem("Next.", ADA)]) for one in both), return_exceptions=True)
    await other.aclose()
    kept = await texts(memory)
    await memory.aclose()

    assert [isinstance(one, Exception) for one in told] == [False, True]
    assert kept == ["Next.", "First."]


async def test_small_files_are_merged_and_nothing_is_lost(tmp_path: Path) -> None:
    """In the background, while writing goes on."""
    memory = await opened(tmp_path, config=LanceConfig(compact_every=5))
    for n in range(30):
        await memory.add([MemoryItem(f"Fact {n}.", ADA)])
    await memory.compact()
    files = list((tmp_path / "memory.lance/items.lance/data").iterdir())
    kept = await texts(memory)
    await memory.aclose()

    assert len(files) == 1
    assert kept == [f"Fact {n}." for n in reversed(range(30))]


async def test_an_index_of_vectors_finds_what_comparing_all_finds(tmp_path: Path) -> None:
    """It is made when there are many, and knows also what was added, changed and forgotten since. Scores are exact."""
    random.seed(7)
    words = [f"word{n}" for n in range(300)]
    config = LanceConfig(index_from=1000)
    memory = await opened(tmp_path, embedder=HashingEmbedder(32), config=config)
    many = [MemoryItem(" ".join(random.choices(words, k=6)), ADA, f"i-{n}") for n in range(1200)]
    for start in range(0, len(many), 600):
        await memory.add(many[start : start + 600], duplicates="keep")
    questions = [MemoryQuery(item.text, EVERYTHING, mode="vector", distinct=False) for item in many[:20]]
    exact = [{hit.item.id: hit.score for hit in await memory.search(one)} for one in questions]

    await memory.compact()
    assert any(name.startswith("vectors_") for name in memory._table.indexes().values())
    by_index = [{hit.item.id: hit.score for hit in await memory.search(one)} for one in questions]
    shared = [(a[id], b[id]) for a, b in zip(exact, by_index, strict=True) for id in a.keys() & b.keys()]
    assert len(shared) >= 0.97 * sum(map(len, exact))
    assert all(abs(one - other) < 1e-6 for one, other in shared)

    await memory.add([MemoryItem("an apple a day", ADA, "new")])
    [new] = await memory.search(MemoryQuery("an apple a day", EVERYTHING, limit=1, mode="vector"))
    await memory.update(ADA, "i-3", Change(text="two pears per night"))
    [changed] = await memory.search(MemoryQuery("two pears per night", EVERYTHING, limit=1, mode="vector"))
    await memory.forget(Selection(ADA, ids=("i-5",)))
    gone = await memory.search(MemoryQuery(many[5].text, EVERYTHING, mode="vector"))
    await memory.aclose()

    assert (new.item.id, changed.item.id) == ("new", "i-3")
    assert "i-5" not in [hit.item.id for hit in gone]


async def test_what_was_moved_and_indexed_before_it_was_forgotten_leaves_no_trace(tmp_path: Path) -> None:
    """Copies that merging, renewing and compacting left behind go, too."""
    secret = "Zyxwvutsrq98765"
    memory = await opened(tmp_path, embedder=HashingEmbedder(16), config=LanceConfig(keep_versions_s=3600))
    await memory.add([MemoryItem(f"Fact {n}.", ADA) for n in range(60)])
    for confidence in (0.2, 0.4, 0.6):
        await memory.add([MemoryItem(f"The code is {secret}.", ADA, confidence=confidence), MemoryItem("Other.", ADA)])
    await memory.compact()
    await memory.add([MemoryItem(f"The code is {secret}.", ADA, confidence=0.9), MemoryItem("More.", ADA)])
    [hit] = await memory.search(MemoryQuery(secret, EVERYTHING, limit=1))
    assert (hit.item.confidence, traces(tmp_path, secret) != []) == (0.9, True)

    assert await memory.forget(Selection(ADA, ids=(hit.item.id,))) == 1
    left = traces(tmp_path, secret)
    kept = await texts(memory)
    await memory.aclose()

    assert left == []
    assert len(kept) == 62


async def test_one_of_many_in_a_large_file_leaves_no_trace(tmp_path: Path) -> None:
    """LanceDB itself leaves a file as it is until a tenth of it is gone."""
    secret = "Zyxwvutsrq98765"
    memory = await opened(tmp_path)
    await memory.add([MemoryItem(f"Fact {n}.", ADA) for n in range(60)] + [MemoryItem(f"It is {secret}.", ADA, "it")])
    await memory.compact()
    before = traces(tmp_path, secret)
    await memory.forget(Selection(ADA, ids=("it",)))
    after = traces(tmp_path, secret)
    kept = await texts(memory)
    await memory.aclose()

    assert (len(before), after, len(kept)) == (1, [], 60)


async def test_a_filter_that_a_query_cannot_say_is_exact_all_the_same(tmp_path: Path) -> None:
    """Ranges, in searches, pages, counts and forgetting."""
    memory = await opened(tmp_path)
    await memory.add([MemoryItem(f"Row {n}.", ADA, metadata={"n": n}) for n in range(20)])
    high = Selection(ADA, filter=Range("n", min=5, below=8))
    page = await memory.items(high, limit=2)
    rest = await memory.items(high, limit=2, cursor=page.cursor)
    found = await memory.search(MemoryQuery("row", high, distinct=False))
    forgotten = await memory.forget(high)
    left = await texts(memory)
    await memory.aclose()

    assert [item.text for item in (*page.items, *rest.items)] == ["Row 7.", "Row 6.", "Row 5."]
    assert sorted(hit.item.text for hit in found) == ["Row 5.", "Row 6.", "Row 7."]
    assert (forgotten, len(left)) == (3, 17)


async def test_reading_goes_on_while_another_process_forgets(tmp_path: Path) -> None:
    """The files of a version may go from under a query; it is then asked again."""
    memory, other = await opened(tmp_path), await opened(tmp_path)
    await memory.add([MemoryItem(f"Fact {n}.", ADA, f"i-{n}") for n in range(20)])

    async def read() -> None:
        for _ in range(15):
            hits = await other.search(MemoryQuery("fact", Selection(ADA), limit=50, distinct=False))
            assert len(hits) >= 10
            assert len(await texts(other)) >= 10

    async def forget() -> None:
        for n in range(10):
            await memory.forget(Selection(ADA, ids=(f"i-{n}",)))

    await asyncio.gather(read(), forget())
    left = await texts(other)
    await memory.aclose()
    await other.aclose()
    assert len(left) == 10


async def test_a_query_whose_files_went_is_asked_again(tmp_path: Path) -> None:
    memory, other = await opened(tmp_path), await opened(tmp_path)
    await memory.add([MemoryItem(f"Fact {n}.", ADA, f"i-{n}") for n in range(20)])
    assert len(await texts(other)) == 20
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def ask(table: Any) -> int:
        if not asked:
            table.checkout(table.version)  # as one who has begun to read, and holds on to this version
            asyncio.run_coroutine_threadsafe(memory.forget(Selection(ADA, ids=("i-1",))), loop).result()
        asked.append(1)
        return len(table.search().select(["item"]).to_arrow())

    count = await asyncio.to_thread(other._table.ask, ask)
    await memory.aclose()
    await other.aclose()
    assert (count, len(asked)) == (19, 2)


async def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "memory.lance").write_text("no folder")
    with pytest.raises(MemoryUnusable, match="cannot be used"):
        await opened(tmp_path)


async def test_a_memory_of_another_version_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await opened(tmp_path)).aclose()
    remedies = []
    for known in ("1", "99"):
        monkeypatch.setattr("opspawn_memory_lancedb.opening.LAYOUT", known)
        with pytest.raises(MemoryUnusable, match=rf"layout is \d+, and this version of Opspawn knows {known}") as told:
            await opened(tmp_path)
        remedies.append(str(told.value.remedy).split()[0])
    assert remedies == ["Upgrade", "Export"]


async def test_the_table_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(str(tmp_path / "memory.lance")).create_table("items", [{"a": 1}])
    with pytest.raises(MemoryUnusable, match="of something else"):
        await opened(tmp_path)


async def test_a_damaged_memory_says_so_in_one_line(tmp_path: Path) -> None:
    """Whether what describes the table is damaged, or a file of it."""
    memory = await opened(tmp_path)
    await memory.add([MemoryItem(f"Fact {n}.", ADA) for n in range(20)])
    await memory.aclose()
    table = tmp_path / "memory.lance/items.lance"
    [data] = (table / "data").iterdir()
    data.write_bytes(os.urandom(data.stat().st_size))

    memory = await opened(tmp_path)
    with pytest.raises(MemoryFailed) as told:
        await texts(memory)
    await memory.aclose()
    for manifest in (table / "_versions").glob("*.manifest"):
        manifest.write_bytes(b"nothing of use")
    with pytest.raises(MemoryUnusable) as unusable:
        await opened(tmp_path)

    for error in (told.value, unusable.value):
        assert "\n" not in str(error)
        assert len(str(error)) < 600


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """What does not fit fails, whole, in one line; once there is room it goes on."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "memory.lance")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("The memory cannot be written: ")
    assert second == "['More.', 'Kept.']"


async def test_another_process_that_writes_is_waited_for_so_long(tmp_path: Path) -> None:
    memory = await opened(tmp_path, config=LanceConfig(busy_timeout_s=0.05))
    with memory._table.writing.held(1), pytest.raises(MemoryFailed, match="busy_timeout_s"):
        await memory.add([MemoryItem("One.", ADA)])
    await memory.add([MemoryItem("Two.", ADA)])
    kept = await texts(memory)
    await memory.aclose()
    assert kept == ["Two."]


def test_naming_the_plugin_imports_no_lancedb() -> None:
    """Nor pyarrow, nor numpy: they come with the first use."""
    code = "import opspawn_memory_lancedb, sys; list(opspawn_memory_lancedb.opspawn_memories()); "
    code += "print([name for name in ('lancedb', 'pyarrow', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_what_the_same_process_brings_in_order_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: by compacting, and by forgetting."""
    memory = await opened(tmp_path, config=LanceConfig(busy_timeout_s=0.05))
    await memory.add([MemoryItem("One.", ADA, "one")])
    go_on = threading.Event()
    really = memory._tender.tend

    def tend(done: Callable[[], None] = lambda: None) -> None:
        go_on.wait(10)
        really(done)

    monkeypatch.setattr(memory._tender, "tend", tend)
    for waits in (memory.compact, partial(memory.forget, Selection(ADA, ids=("one",)))):
        go_on.clear()
        memory._tender.begin()
        waiting = asyncio.ensure_future(waits())
        await asyncio.sleep(0.2)
        early = waiting.done()
        go_on.set()
        await waiting
        assert not early
    await memory.aclose()


def test_the_clients_of_lancedbs_cloud_are_not_imported_until_they_are_wanted() -> None:
    """They take two seconds of each command; whoever wants them in the same process has them, whole."""
    code = (
        "import sys, opspawn_memory_lancedb.memory, lance_namespace_urllib3_client as clients\n"
        "print('lance_namespace_urllib3_client.api' in sys.modules)\n"
        "print(hasattr(clients, '__wrapped__'), clients.TableApi.__name__, hasattr(clients, 'Nothing'))\n"
        "from lance_namespace_urllib3_client import *\n"
        "print(NamespaceApi.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "TableApi", "False", "NamespaceApi"]
