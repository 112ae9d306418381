"""Forgetting and expiring: what is gone is gone, for everybody and in every call."""

from __future__ import annotations

from pathlib import Path

import pytest

from opspawn.contracts.filters import Eq
from opspawn.contracts.memory import Change, Memory, MemoryItem, Provenance, Selection
from opspawn.errors import MemoryFailed
from opspawn.testing.hashing import HashingEmbedder
from opspawn.testing.memory_promises import ADA, EVERYTHING, Hands, MemorySuite, find, keep, said, texts

#: A word that stands nowhere else.
SECRET = "Zyxwvutsrq98765"


def traces(folder: Path, word: str) -> list[Path]:
    """The files that hold a word, in any case."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file for file in files if word.lower().encode() in file.read_bytes().lower()]


class ForgettingPromises(MemorySuite):
    """What a memory promises about forgetting and time."""

    async def test_what_is_forgotten_is_found_by_no_call(self, memory: Memory) -> None:
        [item, _] = await keep(memory, f"The code is {SECRET}.", "The door is red.")

        assert await memory.forget(Selection(ADA, ids=(item.id,))) == 1

        assert await memory.get(ADA, item.id) is None
        assert await texts(memory) == ["The door is red."]
        assert SECRET not in "".join(said(await find(memory, f"the code {SECRET}")))
        assert (await memory.stats(EVERYTHING)).items == 1
        assert await memory.forget(Selection(ADA, ids=(item.id,))) == 0

    async def test_what_is_forgotten_is_gone_from_the_files(self, tmp_path: Path, memory: Memory) -> None:
        """When `forget` has returned, also from indexes, logs and old versions; so is a text that was changed."""
        others = [f"Fact {n} about something." for n in range(50)]
        await keep(memory, *others[:25])
        await keep(memory, f"The code is {SECRET}.", subject=SECRET, metadata={SECRET: SECRET}, id="i-1")
        await keep(memory, f"Old {SECRET[::-1]}.", id="i-2")
        await keep(memory, *others[25:])

        await memory.forget(Selection(ADA, ids=("i-1",)))
        await memory.update(ADA, "i-2", Change(text="New."))

        for word in (SECRET, SECRET[::-1]):
            assert traces(tmp_path, word) == []
        assert len(await texts(memory)) == 51

    @pytest.mark.parametrize("way", ["purge", "compact"])
    async def test_what_has_expired_is_gone_from_the_files_after_a_purge(
        self, tmp_path: Path, memory: Memory, clock: Hands, way: str
    ) -> None:
        """A minute after its time, by which whoever has just found it has refreshed it; at once by `compact`."""
        await keep(memory, *(f"Fact {n} about something." for n in range(20)))
        await keep(memory, f"The code is {SECRET}.", subject=SECRET, metadata={SECRET: SECRET}, ttl_s=100)
        await keep(memory, "Used now and then.", ttl_s=100, refresh=True)
        clock.now += 90
        assert await find(memory, "used now and then")
        assert await memory.purge() == 0
        clock.now += 11

        if way == "compact":
            await memory.compact()
        else:
            assert await memory.purge() == 0
            clock.now += 60
            assert await find(memory, "used now and then")
            assert await memory.purge() == 1
            assert await memory.purge() == 0

        assert traces(tmp_path, SECRET) == []
        assert len(await texts(memory)) == 21

    async def test_what_was_changed_is_gone_from_the_files_after_compacting(
        self, tmp_path: Path, memory: Memory
    ) -> None:
        """Also where only the subject or metadata were changed, and not the text."""
        await keep(memory, *(f"Fact {n} about something." for n in range(20)))
        await keep(memory, "The door is red.", subject=SECRET, metadata={"code": SECRET}, id="i-1")
        await memory.update(ADA, "i-1", Change(subject="door", metadata={}))

        await memory.compact()

        assert traces(tmp_path, SECRET) == []
        assert len(await texts(memory)) == 21

    async def test_it_is_forgotten_by_subject_session_filter_and_age(self, memory: Memory, clock: Hands) -> None:
        """All that is given must fit."""
        await keep(memory, "One.", subject="Ada")
        await keep(memory, "Two.", provenance=Provenance(session="s-1"))
        await keep(memory, "Three.", metadata={"kind": "draft"})
        clock.now += 100
        await keep(memory, "Four.")

        assert await memory.forget(Selection(ADA, subject="Ada", session="s-1")) == 0
        assert await memory.forget(Selection(ADA, subject="Ada")) == 1
        assert await memory.forget(Selection(ADA, session="s-1")) == 1
        assert await memory.forget(Selection(ADA, filter=Eq("kind", "draft"))) == 1
        await keep(memory, "Five.")
        clock.now += 50
        assert await memory.forget(Selection(ADA, older_than_s=51)) == 0
        assert await memory.forget(Selection(ADA, older_than_s=50)) == 2
        assert await texts(memory) == []

    async def test_everything_is_forgotten_if_everything_is_meant(self, memory: Memory) -> None:
        await keep(memory, "One.", "Two.")
        assert await memory.forget(Selection(())) == 0
        assert await memory.forget(EVERYTHING) == 2

    async def test_what_was_forgotten_may_be_told_again(self, memory: Memory) -> None:
        """Under its old id, too."""
        await keep(memory, "One.", id="i-1")
        await memory.forget(Selection(ADA, ids=("i-1",)))
        [again] = await memory.add([MemoryItem("One.", ADA, "i-1")])
        assert again.new

    async def test_what_has_expired_is_found_by_no_call(self, memory: Memory, clock: Hands) -> None:
        """From that moment on."""
        [item] = await keep(memory, "The guest code is 1111.", ttl_s=60)
        assert item.expires is not None
        clock.now += 59
        assert len(await find(memory, "guest code")) == 1
        clock.now += 1
        assert await find(memory, "guest code") == []
        assert await memory.get(ADA, item.id) is None
        assert await texts(memory) == []
        assert (await memory.stats(EVERYTHING)).items == 0

    async def test_what_has_expired_does_not_stand_in_the_way(self, memory: Memory, clock: Hands) -> None:
        """Its id and its words may come again."""
        await keep(memory, "The guest code is 1111.", ttl_s=60, id="i-1")
        clock.now += 61
        [again] = await memory.add([MemoryItem("The guest code is 1111.", ADA, "i-1")])
        assert again.new

    async def test_use_prolongs_what_is_refreshed_by_use(self, memory: Memory, clock: Hands) -> None:
        """Being found, or asked for by its id, is use; a list is none."""
        await keep(memory, "The gate code.", ttl_s=60, refresh=True, id="i-1")
        await keep(memory, "The gate colour.", ttl_s=60, id="i-2")
        clock.now += 50
        await find(memory, "gate code")
        clock.now += 50
        assert await texts(memory) == ["The gate code."]
        assert await memory.get(ADA, "i-1") is not None
        clock.now += 50
        assert await texts(memory) == ["The gate code."]
        clock.now += 11
        assert await texts(memory) == []

    async def test_a_change_of_the_time_to_live_counts_from_then(self, memory: Memory, clock: Hands) -> None:
        await keep(memory, "The gate code.", id="i-1")
        clock.now += 50
        await memory.update(ADA, "i-1", Change(ttl_s=60))
        clock.now += 59
        assert await texts(memory) == ["The gate code."]
        await memory.update(ADA, "i-1", Change(ttl_s=None))
        clock.now += 1000
        assert await texts(memory) == ["The gate code."]

    async def test_a_closed_memory_says_so(
        self, tmp_path: Path, clock: Hands, embedder: HashingEmbedder | None
    ) -> None:
        """Closing twice is one closing."""
        memory = await self.open_memory(tmp_path, clock=clock, embedder=embedder)
        await memory.aclose()
        await memory.aclose()
        with pytest.raises(MemoryFailed, match="closed"):
            await memory.get(ADA, "i-1")
