"""Finding: the nearest first, with a score that means the same everywhere, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from opspawn.contracts.memory import Memory, MemoryQuery, Selection
from opspawn.errors import EmbedderMismatch, InvalidInput, MemoryFailed, ModelError
from opspawn.testing.hashing import HashingEmbedder
from opspawn.testing.memory_promises import ADA, Hands, MemorySuite, find, keep, said

FACTS = (
    "Ada's API token expires every 90 days.",
    "Bob prefers answers in French.",
    "The office in Bern has two doors.",
    "Deploys happen on Tuesdays, after the stand-up.",
    "The staging database is called blue-whale.",
)


class FindingPromises(MemorySuite):
    """What a memory promises about searching."""

    async def test_the_right_one_is_first(self, memory: Memory) -> None:
        """Of some facts, for a question as a person would ask it."""
        await keep(memory, *FACTS)
        for question, answer in (
            ("When does the token expire?", FACTS[0]),
            ("In which language does Bob want his answers?", FACTS[1]),
            ("How many doors has the office?", FACTS[2]),
            ("what is the name of the staging database", FACTS[4]),
        ):
            assert said(await find(memory, question))[0] == answer

    async def test_scores_are_from_0_to_1_and_fall(self, memory: Memory) -> None:
        """Nothing of score 0 is given."""
        await keep(memory, *FACTS)
        scores = [hit.score for hit in await find(memory, "Does the office in Bern have a database?")]
        assert scores == sorted(scores, reverse=True)
        assert all(0 < score <= 1 for score in scores)

    async def test_the_same_words_score_1(self, memory: Memory) -> None:
        """As near as can be."""
        await keep(memory, *FACTS)
        [first, *_] = await find(memory, FACTS[3])
        assert (first.item.text, round(first.score, 5)) == (FACTS[3], 1.0)

    async def test_a_score_does_not_depend_on_what_else_is_kept(self, memory: Memory) -> None:
        """It is made from the query and the item alone."""
        await keep(memory, FACTS[0])
        [before] = await find(memory, "Which token expires?")
        await keep(memory, *(f"Token number {n} expires." for n in range(20)), namespace=("other",))
        [after] = await find(memory, "Which token expires?")
        assert before.score == after.score

    async def test_of_words_the_score_is_the_share_that_was_found(self, memory: Memory) -> None:
        """Words that ask without naming anything ("how", "the") do not count; the words are in `why`."""
        await keep(memory, "The blue whale sleeps.")
        [hit] = await find(memory, "Where does the blue cat sleep?", mode="text")
        assert round(hit.score, 3) == round(2 / 3, 3)
        assert hit.why.words == ("blue", "sleep")

    async def test_case_accents_plural_and_begins_of_words_do_not_matter(self, memory: Memory) -> None:
        await keep(memory, "Die Grüße des Café-Besitzers", "Tokens expire")
        assert said(await find(memory, "CAFE", mode="text")) == ["Die Grüße des Café-Besitzers"]
        assert said(await find(memory, "token", mode="text")) == ["Tokens expire"]
        assert said(await find(memory, "besitzer", mode="text")) == ["Die Grüße des Café-Besitzers"]

    async def test_scripts_without_spaces_are_found_by_their_parts(self, memory: Memory) -> None:
        await keep(memory, "彼女は緑茶が好きです", "会議は火曜日です")
        assert said(await find(memory, "緑茶", mode="text")) == ["彼女は緑茶が好きです"]
        assert said(await find(memory, "火曜日の会議", mode="text"))[0] == "会議は火曜日です"

    async def test_what_is_not_there_is_not_found(self, memory: Memory) -> None:
        await keep(memory, *FACTS)
        assert await find(memory, "xylophone", mode="text") == []

    async def test_limit_and_least_score_are_kept(self, memory: Memory) -> None:
        await keep(memory, *(f"Token {n} of the token list." for n in range(30)))
        assert len(await find(memory, "token", limit=7, distinct=False)) == 7
        assert await find(memory, "token banana", mode="text", min_score=0.6) == []

    async def test_of_those_that_say_the_same_one_is_given(self, memory: Memory) -> None:
        """Unless all are wanted."""
        words = "the quick brown fox jumps over one lazy dog beside some very old green river bank today"
        await keep(memory, words, words.upper(), words.replace("today", "today!"))
        assert len(await find(memory, "quick fox")) == 1
        assert len(await find(memory, "quick fox", distinct=False)) == 3

    async def test_age_counts_if_it_is_weighed(self, memory: Memory, clock: Hands) -> None:
        """By halves: after a half-life, half of the weighed part is lost."""
        await keep(memory, "The gate code is 1111.")
        clock.now += 100
        await keep(memory, "The gate code is 2222.")

        found = await find(memory, "gate code", recency=1.0, half_life_s=100, mode="text", distinct=False)

        assert said(found) == ["The gate code is 2222.", "The gate code is 1111."]
        assert [round(hit.score, 3) for hit in found] == [1.0, 0.5]
        assert [round(hit.why.recency, 3) for hit in found] == [1.0, 0.5]

    async def test_doubt_counts_if_it_is_weighed(self, memory: Memory) -> None:
        await keep(memory, "The gate code is 1111.", confidence=0.2)
        await keep(memory, "The gate code is 2222.", confidence=0.9)

        found = await find(memory, "gate code", confidence=1.0, mode="text", distinct=False)

        assert [round(hit.score, 3) for hit in found] == [0.9, 0.2]

    async def test_what_has_all_words_is_found_among_many_that_have_some(self, memory: Memory) -> None:
        """Though each of these has its word twice, and fewer others."""
        await keep(memory, "zebra quagga " + " ".join(f"w{n}" for n in range(60)), id="best")
        await keep(memory, *(f"zebra zebra n{n} k{n * 7}" for n in range(60)))
        await keep(memory, *(f"quagga quagga n{n} k{n * 7}" for n in range(60)))
        hits = await find(memory, "zebra quagga", limit=5, mode="text")
        assert [(hit.item.id, hit.score) for hit in hits[:1]] == [("best", 1.0)]
        assert len(hits) == 5

    async def test_near_duplicates_leave_room_for_others(self, memory: Memory) -> None:
        """However many they are, the next ones are found."""
        same = " ".join(f"w{n}" for n in range(40))
        more = " ".join(f"x{n}" for n in range(60))
        days = ("Monday", "Tuesday", "Friday")
        await keep(
            memory, *(f"The invoice of {day} has its date when it is due, {day} {more} {day * 2}." for day in days)
        )
        others = [f"{word} the invoice is due at its date" for word in ("paper", "contract", "ask Bob")]
        await keep(memory, *(f"{one} {more}" for one in others))
        await keep(memory, *(f"invoice due date {same} v{n}" for n in range(300)))
        hits = await find(memory, "invoice due date", limit=3, mode="text")
        assert len(hits) == 3

    async def test_the_doubtful_and_the_old_do_not_keep_out_what_is_better(self, memory: Memory, clock: Hands) -> None:
        """Where these weigh, though it is farther by words and vectors."""
        await keep(memory, *(f"Lemur fact {n}." for n in range(80)), confidence=0.1)
        await keep(memory, *(f"Gibbon fact {n}." for n in range(80)))
        sure = "A fact on a lemur, in a somewhat longer sentence, that is sure, and better for all of us."
        await keep(memory, sure)
        clock.now += 400 * 86400
        fresh = "A fact on a gibbon, in a somewhat longer sentence, that is of today, and better for us."
        await keep(memory, fresh)
        assert said(await find(memory, "lemur fact", limit=1, confidence=1.0)) == [sure]
        assert said(await find(memory, "gibbon fact", limit=1, recency=1.0)) == [fresh]

    async def test_of_equals_the_newest_comes_first(self, memory: Memory) -> None:
        await keep(memory, "Gate one.", "Gate two.", "Gate six.")
        assert said(await find(memory, "gate", mode="text", distinct=False)) == ["Gate six.", "Gate two.", "Gate one."]

    async def test_a_selection_narrows_a_search(self, memory: Memory) -> None:
        """By ids, subject and session too."""
        await keep(memory, "Gate one.", id="i-1", subject="one")
        await keep(memory, "Gate two.", id="i-2", subject="two")
        for select in (Selection(ADA, ids=("i-2",)), Selection(ADA, subject="two")):
            assert said(await memory.search(MemoryQuery("gate", select))) == ["Gate two."]

    async def test_vectors_are_asked_for_only_with_an_embedder(
        self, memory: Memory, embedder: HashingEmbedder | None
    ) -> None:
        """Without one, "auto" searches by words, and asking for vectors is refused in words."""
        await keep(memory, *FACTS)
        if embedder is None:
            with pytest.raises(InvalidInput, match="no embedder"):
                await find(memory, "token", mode="vector")
            return
        [first, *_] = await find(memory, "Ada's API token expires", mode="vector")
        assert first.item.text == FACTS[0]
        assert first.why.distance is not None
        assert first.score == pytest.approx(1 - first.why.distance)

    async def test_both_are_used_where_both_are_there(self, memory: Memory, embedder: HashingEmbedder | None) -> None:
        """The score is the higher; what only one of them finds is found, as near as that one alone finds it."""
        if embedder is None:
            return
        await keep(memory, "Tokenization is hard.", "The token is red.")
        hits = await find(memory, "token")
        assert said(hits) == ["The token is red.", "Tokenization is hard."]
        for hit in hits:
            assert hit.why.text is not None
            assert hit.why.distance is not None
            assert hit.score == pytest.approx(max(hit.why.text, 1 - hit.why.distance), abs=1e-6)
        for mode in ("text", "vector"):
            for alone in await find(memory, "token", mode=mode):
                [both] = [hit for hit in hits if hit.item.id == alone.item.id]
                assert both.score >= alone.score - 1e-6

    async def test_an_embedder_that_fails_leaves_words(self, memory: Memory, embedder: HashingEmbedder | None) -> None:
        """A search goes on by words; adding fails, and so does a search by vectors alone."""
        if embedder is None:
            return
        await keep(memory, *FACTS)
        embedder.fails = ModelError("Down.", error_type="transient")
        assert said(await find(memory, "token"))[0] == FACTS[0]
        with pytest.raises(ModelError):
            await find(memory, "token", mode="vector")
        with pytest.raises(ModelError):
            await keep(memory, "New.")

    @pytest.mark.parametrize(
        "vector",
        [[], [float("nan")] * 8, [float("inf")] * 8, [0.0] * 8, [1e300] * 8],
        ids=["empty", "nan", "inf", "0", "huge"],
    )
    async def test_vectors_that_cannot_be_used_are_refused(
        self, tmp_path: Path, clock: Hands, vector: list[float]
    ) -> None:
        """And nothing is kept."""

        class Broken(HashingEmbedder):
            def vector(self, text: str) -> list[float]:
                return vector

        broken = Broken(8)
        broken.dim = None
        memory = await self.open_memory(tmp_path, clock=clock, embedder=broken)
        with pytest.raises(MemoryFailed):
            await keep(memory, "New.")
        assert (await memory.stats(Selection((), below=True))).items == 0
        await memory.aclose()

    async def test_an_empty_vector_is_not_taken_for_that_of_another_embedder(
        self, tmp_path: Path, clock: Hands
    ) -> None:
        """Making all vectors anew would not help."""

        class Empty(HashingEmbedder):
            def vector(self, text: str) -> list[float]:
                return []

        memory = await self.open_memory(tmp_path, clock=clock, embedder=Empty(8))
        with pytest.raises(MemoryFailed) as caught:
            await keep(memory, "New.")
        await memory.aclose()
        assert not isinstance(caught.value, EmbedderMismatch)

    async def test_too_few_vectors_are_refused(self, tmp_path: Path, clock: Hands) -> None:
        class Lazy(HashingEmbedder):
            async def embed(self, texts: object) -> list[list[float]]:
                return [[1.0] * 8]

        memory = await self.open_memory(tmp_path, clock=clock, embedder=Lazy(8))
        with pytest.raises(MemoryFailed):
            await keep(memory, "One.", "Two.")
        await memory.aclose()

    @pytest.mark.parametrize(
        "other", [HashingEmbedder(128, model="hashing:new"), HashingEmbedder(64)], ids=["model", "dim"]
    )
    async def test_another_embedder_is_refused_with_the_way_out(
        self, tmp_path: Path, clock: Hands, other: HashingEmbedder
    ) -> None:
        """Another model, or another dimension: vectors of both do not compare. `reembed` makes them anew."""
        first = await self.open_memory(tmp_path, clock=clock, embedder=HashingEmbedder(128))
        await keep(first, *FACTS)
        await first.aclose()

        memory = await self.open_memory(tmp_path, clock=clock, embedder=other)
        with pytest.raises(EmbedderMismatch, match="reembed"):
            await keep(memory, "New.")
        with pytest.raises(EmbedderMismatch, match="reembed"):
            await find(memory, "token")
        if other.model == "hashing:new":
            told: list[tuple[int, int]] = []
            assert await memory.reembed(lambda done, all: told.append((done, all))) == 5
            assert told[-1] == (5, 5)
            assert said(await find(memory, "When does the token expire?", mode="vector"))[0] == FACTS[0]
        await memory.aclose()

    async def test_items_without_vectors_get_them_by_reembed(
        self, tmp_path: Path, clock: Hands, embedder: HashingEmbedder | None
    ) -> None:
        """An embedder may come later; until then they are found by words. It may also go again."""
        first = await self.open_memory(tmp_path, clock=clock, embedder=None)
        await keep(first, *FACTS)
        await first.aclose()

        memory = await self.open_memory(tmp_path, clock=clock, embedder=embedder)
        assert said(await find(memory, "When does the token expire?"))[0] == FACTS[0]
        made = await memory.reembed()
        assert made == (5 if embedder else 0)
        assert (await memory.stats(Selection((), below=True))).vectors == made
        assert await memory.reembed() == 0
        await memory.aclose()

        last = await self.open_memory(tmp_path, clock=clock, embedder=None)
        await last.reembed()
        assert (await last.stats(Selection((), below=True))).vectors == 0
        await last.aclose()
