"""Many items at once: made as columns, and each kept as if it had come alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from opspawn.contracts.filters import Eq
from opspawn.contracts.memory import MemoryItem, MemoryQuery, Provenance, Selection
from opspawn.testing import HashingEmbedder
from opspawn_memory_lancedb.memory import open_memory
from opspawn_memory_lancedb.terms import terms_of

ADA, BOB = ("user:ada",), ("user:bob", "x")
EVERYTHING = Selection((), below=True)


def test_texts_that_are_taken_apart_together_have_the_words_they_have_alone() -> None:
    """Whatever is in them: no word, what stands between texts, other scripts, more words than one remembers."""
    texts = ["Two apples, 12345 PEARS", "", "...", "a\0b", "\0", " x ", "Ünïcode Straßen", "東京都", "l" * 99, "1 2\n3"]
    alone = [terms_of(pa.array([text])).to_pylist()[0] for text in texts]
    assert terms_of(pa.array(texts)).to_pylist() == alone
    assert terms_of(pa.array(["not this", *texts]).slice(1)).to_pylist() == alone
    assert alone[:6] == ["two appl apple 1234 12345 pear", "", "", "a b", "", "x"]


async def test_what_items_have_in_common_is_not_taken_for_more_than_it_is(tmp_path: Path) -> None:
    """1, 1.0 and true are equal in Python, and are three things in metadata; so is each item's own among others."""
    told = (Provenance(source="mail"), Provenance(who="Ada"), Provenance())
    ends = (None, 60.0, 90)
    items = [
        MemoryItem(
            f"Fact {n}.", (ADA, BOB)[n % 2], f"i-{n}", {"n": value}, "ada" * (n % 2), told[n % 3], n / 8, ends[n % 3]
        )
        for n, value in enumerate((1, 1.0, True, "1", [1, True], [1, True]))
    ]
    memory = await open_memory(str(tmp_path / "memory.lance"))
    await memory.add(items)
    kept = sorted((await memory.items(EVERYTHING)).items, key=lambda item: item.id)
    found = await memory.items(Selection((), below=True, filter=Eq("n", True)))
    await memory.aclose()
    for item, one in zip(items, kept, strict=True):
        for name in ("text", "namespace", "id", "subject", "provenance", "confidence", "ttl_s"):
            assert getattr(one, name) == getattr(item, name)
        assert repr(one.metadata) == repr(item.metadata)
        assert one.created is not None
        end = None if item.ttl_s is None else one.created + timedelta(seconds=item.ttl_s)
        assert (one.updated, one.expires) == (one.created, end)
    assert {item.id for item in found.items} == {"i-2", "i-4", "i-5"}


async def test_new_ones_and_others_may_come_in_one_call(tmp_path: Path) -> None:
    """Those that are there already, twice in the call, or bring their times; each has its own vector."""
    memory = await open_memory(str(tmp_path / "memory.lance"), embedder=HashingEmbedder(32))
    await memory.add([MemoryItem("The oldest.", ADA, "old"), MemoryItem("Said before.", ADA)])
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    call = [
        MemoryItem("New apples.", ADA),
        MemoryItem("said  BEFORE.", ADA),
        MemoryItem("Anything.", ADA, "old"),
        MemoryItem("Twice pears.", ADA),
        MemoryItem("From an export.", ADA, "dated", created=long_ago),
        MemoryItem("Twice pears.", ADA),
        MemoryItem("New plums.", BOB, "plums"),
    ]
    added = await memory.add(call)
    page = (await memory.items(EVERYTHING)).items
    nearest = []
    for text in ("new apples", "new plums", "twice pears"):
        nearest.append(await memory.search(MemoryQuery(text, EVERYTHING, limit=1, mode="vector")))
    await memory.aclose()
    assert [one.new for one in added] == [True, False, False, True, True, False, True]
    texts = ["New plums.", "From an export.", "Twice pears.", "New apples.", "Said before.", "The oldest."]
    assert [item.text for item in page] == texts
    assert (added[5].item.id, added[4].item.created) == (added[3].item.id, long_ago)
    assert [hit.item.text for [hit] in nearest] == ["New apples.", "New plums.", "Twice pears."]
    assert {one.item.id for one in added} == {item.id for item in page}


async def test_whoever_no_longer_waits_leaves_the_others_theirs(tmp_path: Path) -> None:
    """They were gathered into one."""
    memory = await open_memory(str(tmp_path / "memory.lance"))
    adds = [asyncio.ensure_future(memory.add([MemoryItem(f"Fact {n}.", ADA, str(n))])) for n in range(5)]
    await asyncio.sleep(0)
    adds[2].cancel()
    told = await asyncio.gather(*adds, return_exceptions=True)
    kept = await memory.items(EVERYTHING)
    await memory.aclose()
    assert [one.item.id for n, made in enumerate(told) if n != 2 and isinstance(made, list) for one in made] == list(
        "0134"
    )
    assert isinstance(told[2], asyncio.CancelledError)
    assert len(kept.items) == 5


@pytest.mark.parametrize("ways", [("keep", "merge", "merge"), ("merge", "keep", "merge")])
async def test_adds_with_other_ways_of_duplicates_keep_their_own(tmp_path: Path, ways: tuple[str, ...]) -> None:
    memory = await open_memory(str(tmp_path / "memory.lance"))
    await memory.add([MemoryItem("Fact.", ADA)])
    adds = [memory.add([MemoryItem("Fact.", ADA)], duplicates=way) for way in ways]  # type: ignore[arg-type]
    told = await asyncio.gather(*adds)
    await memory.aclose()
    assert [one.new for [one] in told] == [way == "keep" for way in ways]
