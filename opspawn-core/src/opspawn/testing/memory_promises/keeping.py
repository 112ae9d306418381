"""Keeping: what is acknowledged is there, whole, once, also for who comes later."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from opspawn.contracts.memory import Change, Memory, MemoryItem, Provenance
from opspawn.errors import InvalidInput, NotFound
from opspawn.testing.hashing import HashingEmbedder
from opspawn.testing.memory_promises import ADA, BOB, EVERYTHING, Hands, MemorySuite, find, keep, said, texts

#: Texts that have broken something somewhere.
HOSTILE = [
    "'; DROP TABLE items; --",
    '" OR "1"="1',
    'NEAR("a b", 5) AND * ^ : { } ( )',
    "{{ 7 * 7 }} ${7*7} %s %d \\x00 \\",
    "null \x00 byte and \x1b[31mescape",
    "line\nfeed\r\nand\ttab",
    "Ünïcödé, ΑΒΓ, Кириллица, עברית, العربية, हिन्दी",
    "日本語のテキストと中文文本",
    "🙂👩‍👩‍👧‍👧🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "e\u0301 and \u00e9, \u202eright to left\u202c, zero\u200bwidth",
]


class KeepingPromises(MemorySuite):
    """What a memory promises about adding and changing."""

    async def test_an_item_comes_back_as_it_was_given(self, memory: Memory) -> None:
        """With the time at which it was kept."""
        told = Provenance("conversation", "Ada", "helper", "t-1", "act/0", "s-1")
        metadata = {"kind": "fact", "n": 1, "x": 1.5, "yes": True, "tags": ["a", "b"], "none": None}
        given = MemoryItem("Ada likes tea.", ADA, "i-1", metadata, "Ada", told, 0.5, 60.0, True)

        [added] = await memory.add([given])

        kept = await memory.get(ADA, "i-1")
        assert kept is not None
        assert added.new
        assert kept == added.item
        assert (kept.text, kept.namespace, kept.id, kept.metadata) == ("Ada likes tea.", ADA, "i-1", metadata)
        assert (kept.subject, kept.provenance, kept.confidence) == ("Ada", told, 0.5)
        assert kept.created is not None
        assert kept.created.timestamp() == 1_800_000_000.0

    async def test_what_was_kept_is_there_for_who_opens_it_next(
        self, tmp_path: Path, clock: Hands, embedder: HashingEmbedder | None
    ) -> None:
        """Words, vectors and all."""
        first = await self.open_memory(tmp_path, clock=clock, embedder=embedder)
        await keep(first, "Ada likes tea.", "Ada lives in Bern.", "The office has two doors.")
        await first.aclose()

        second = await self.open_memory(tmp_path, clock=clock, embedder=embedder)
        found = await find(second, "Does Ada like tea?")
        await second.aclose()

        assert said(found)[0] == "Ada likes tea."

    async def test_an_id_is_given_once(self, memory: Memory) -> None:
        """Who adds an id that is there gets what is there, and changes nothing: so an add may be repeated."""
        await keep(memory, "First.", id="i-1")
        [again] = await memory.add([MemoryItem("Second.", ADA, "i-1")])

        assert (again.new, again.item.text) == (False, "First.")
        assert await texts(memory) == ["First."]

    async def test_an_id_belongs_to_its_namespace(self, memory: Memory) -> None:
        """Two namespaces may have the same id."""
        await keep(memory, "Ada's.", id="i-1")
        await keep(memory, "Bob's.", id="i-1", namespace=BOB)

        theirs = await memory.get(BOB, "i-1")
        assert theirs is not None
        assert theirs.text == "Bob's."

    async def test_ids_are_made_where_none_are_given(self, memory: Memory) -> None:
        """All different."""
        items = await keep(memory, *(f"Fact {n}." for n in range(20)))
        assert len({item.id for item in items}) == 20

    async def test_the_same_words_again_are_the_same_item(self, memory: Memory) -> None:
        """But for case and spaces; it is as sure as the surer of both."""
        await memory.add([MemoryItem("Ada likes tea.", ADA, confidence=0.5)])
        [again] = await memory.add([MemoryItem("  ada LIKES\n tea. ", ADA, confidence=0.9)])

        assert not again.new
        assert again.item.confidence == 0.9
        assert await texts(memory) == ["Ada likes tea."]

    async def test_the_same_words_of_others_or_about_others_are_other_items(self, memory: Memory) -> None:
        """Namespace and subject count."""
        await memory.add([MemoryItem("Likes tea.", ADA, subject="Ada")])
        await memory.add([MemoryItem("Likes tea.", ADA, subject="Bob"), MemoryItem("Likes tea.", BOB, subject="Ada")])

        assert len(await texts(memory)) == 3

    async def test_duplicates_are_kept_if_that_is_asked_for(self, memory: Memory) -> None:
        await memory.add([MemoryItem("Twice.", ADA)] * 2, duplicates="keep")
        assert len(await texts(memory)) == 2

    async def test_items_are_added_all_or_none(self, memory: Memory, embedder: HashingEmbedder | None) -> None:
        """One that is refused takes the others with it."""
        if embedder is not None:
            embedder.fails = ValueError("The embedder is broken.")
            with pytest.raises(Exception, match="broken"):
                await memory.add([MemoryItem("One.", ADA), MemoryItem("Two.", ADA)])
            embedder.fails = None
        with pytest.raises(InvalidInput):
            await memory.add([MemoryItem(f"Fact {n}.", ADA) for n in range(1001)])
        assert await texts(memory) == []

    async def test_hostile_texts_are_kept_and_found_as_they_are(self, memory: Memory) -> None:
        """In the text, the subject, the metadata and the namespace."""
        for n, text in enumerate(HOSTILE):
            space = ("x", text[:200])
            await memory.add([MemoryItem(text, space, f"i-{n}", {"it": text}, text[:200])])
        for n, text in enumerate(HOSTILE):
            kept = await memory.get(("x", text[:200]), f"i-{n}")
            assert kept is not None
            assert (kept.text, kept.metadata, kept.subject) == (text, {"it": text}, text[:200])
            await find(memory, text, ("x", text[:200]))

    async def test_texts_that_are_too_long_or_empty_are_refused(self, memory: Memory) -> None:
        """64 KiB are the most; nothing is cut in silence."""
        await memory.add([MemoryItem("é" * 32 * 1024, ADA)])
        for wrong in ("x" * (64 * 1024 + 1), "x" * 1024 * 1024, "", "  \n", "half \ud800 a character"):
            with pytest.raises(InvalidInput):
                await memory.add([MemoryItem(wrong, ADA)])

    async def test_times_that_nobody_could_read_are_refused(self, memory: Memory) -> None:
        """One without its zone is another time on another machine."""
        wrong: Any
        for name in ("created", "updated", "expires"):
            for wrong in ("abc", 5, datetime(2026, 1, 1)):
                with pytest.raises(InvalidInput, match=name):
                    await keep(memory, "Ada likes tea.", **{name: wrong})

    async def test_an_item_is_changed_in_place(self, memory: Memory, clock: Hands) -> None:
        """What is not given stays; it is found by its new words, and no more by its old ones."""
        await keep(memory, "Ada likes coffee.", id="i-1", metadata={"a": 1}, subject="Ada")
        clock.now += 60
        changed = await memory.update(ADA, "i-1", Change(text="Ada prefers tea.", confidence=0.5))

        assert (changed.text, changed.metadata, changed.subject) == ("Ada prefers tea.", {"a": 1}, "Ada")
        assert changed.updated is not None
        assert changed.created is not None
        assert changed.updated > changed.created
        assert said(await find(memory, "tea", mode="text")) == ["Ada prefers tea."]
        assert await find(memory, "coffee", mode="text") == []

    async def test_who_is_not_there_cannot_be_changed(self, memory: Memory) -> None:
        """Nor from another namespace."""
        await keep(memory, "Ada's.", id="i-1")
        for space, id in ((ADA, "i-2"), (BOB, "i-1"), (("agent:helper",), "i-1")):
            with pytest.raises(NotFound):
                await memory.update(space, id, Change(text="Mine."))
        assert await texts(memory) == ["Ada's."]

    async def test_pages_give_every_item_once_the_newest_first(self, memory: Memory) -> None:
        """Also if some are added meanwhile."""
        await keep(memory, *(f"Fact {n}." for n in range(25)))
        seen: list[str] = []
        cursor = None
        while True:
            page = await memory.items(EVERYTHING, limit=10, cursor=cursor)
            seen += [item.text for item in page.items]
            if (cursor := page.cursor) is None:
                break
            await keep(memory, f"Later {len(seen)}.")
        assert seen == [f"Fact {n}." for n in reversed(range(25))]

    async def test_a_cursor_of_somebody_else_is_refused(self, memory: Memory) -> None:
        with pytest.raises(InvalidInput):
            await memory.items(EVERYTHING, cursor="'; DROP TABLE items")

    async def test_adds_at_once_are_all_kept(
        self, tmp_path: Path, memory: Memory, clock: Hands, embedder: HashingEmbedder | None
    ) -> None:
        """From two memories on one place, where there can be two."""
        other = await self.open_memory(tmp_path, clock=clock, embedder=embedder) if self.two else memory
        await asyncio.gather(
            *(
                one.add([MemoryItem(f"Fact {n} of {who}.", ADA)])
                for who, one in enumerate((memory, other))
                for n in range(15)
            )
        )
        assert len(await texts(memory)) == 30
        assert len(await texts(other)) == 30
        if other is not memory:
            await other.aclose()

    async def test_of_an_id_that_is_added_at_once_there_is_one(
        self, tmp_path: Path, memory: Memory, clock: Hands, embedder: HashingEmbedder | None
    ) -> None:
        """Whoever comes first; the others are told what is kept."""
        other = await self.open_memory(tmp_path, clock=clock, embedder=embedder) if self.two else memory
        added = await asyncio.gather(
            *(one.add([MemoryItem(f"Say {n}.", ADA, "i-1")]) for n, one in enumerate((memory, other) * 5))
        )
        assert sum(one.new for [one] in added) == 1
        assert len({one.item.text for [one] in added}) == 1
        if other is not memory:
            await other.aclose()

    async def test_compacting_changes_nothing_that_is_kept(self, memory: Memory) -> None:
        """Nor how it is found. Each step that is done is told, from none to all."""
        items = await keep(memory, "Ada likes tea.", "Bob likes coffee.", "The door is red.")
        await memory.forget(type(EVERYTHING)(ADA, ids=(items[2].id,)))
        before = await find(memory, "Who likes tea?")
        told: list[tuple[int, int]] = []
        await memory.compact()
        await memory.compact(lambda done, all: told.append((done, all)))

        assert told == [(step, len(told) - 1) for step in range(len(told))]
        assert len(told) > 1
        assert await texts(memory) == ["Bob likes coffee.", "Ada likes tea."]
        assert await find(memory, "Who likes tea?") == before

    async def test_it_tells_how_much_it_keeps(self, memory: Memory, embedder: HashingEmbedder | None) -> None:
        """In all, and by namespace."""
        await keep(memory, "One.", "Two.")
        await keep(memory, "Three.", namespace=BOB)
        whole, theirs = await memory.stats(EVERYTHING), await memory.stats(type(EVERYTHING)(BOB))

        assert (whole.items, theirs.items) == (3, 1)
        assert whole.namespaces == ((ADA, 2), (BOB, 1))
        assert whole.vectors == (3 if embedder else 0)
        assert whole.embedder == (embedder.model if embedder else None)
