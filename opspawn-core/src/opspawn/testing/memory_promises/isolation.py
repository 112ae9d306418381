"""Namespaces and filters: who asks for his own gets his own, whatever the texts look like."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opspawn.contracts.filters import And, Eq, Exists, Filter, In, Not, Or, Range, filter_from_json, filter_to_json
from opspawn.contracts.memory import Memory, MemoryItem, MemoryQuery, Namespace, Provenance, Selection
from opspawn.errors import InvalidInput
from opspawn.testing.memory_promises import ADA, BOB, MemorySuite, find, keep, said, texts
from opspawn.testing.memory_promises.keeping import HOSTILE

#: Namespaces that are easily taken for one another.
SPACES: tuple[Namespace, ...] = (
    ("a",),
    ("a", "b"),
    ("a", "b", "c"),
    ("ab",),
    ("a b",),
    ("a/b",),
    ("a,b",),
    ('a","b',),
    ("a\x00b",),
    ("A",),
    ("a%",),
    ("a_",),
    ("*",),
    ("é",),
    ("e\u0301",),
    ("b", "a"),
    ("日本", "b"),
)

ROWS = (
    ("r1", {"kind": "fact", "n": 1, "tags": ["a", "b"], "ok": True}),
    ("r2", {"kind": "fact", "n": 2.5, "tags": ["b"], "ok": False}),
    ("r3", {"kind": "note", "n": 10, "date": "2026-05-01"}),
    ("r4", {"kind": None, "n": "1", "date": "2026-06-01"}),
    ("r5", {"quote": 'it\'s "so" -- ; % _'}),
)
FITS: tuple[tuple[Filter, str], ...] = (
    (Eq("kind", "fact"), "r1 r2"),
    (Eq("n", 1), "r1"),
    (Eq("n", 1.0), "r1"),
    (Eq("n", "1"), "r4"),
    (Eq("ok", True), "r1"),
    (Eq("n", True), ""),
    (Eq("tags", "b"), "r1 r2"),
    (In("n", (1, 10)), "r1 r3"),
    (In("n", ()), ""),
    (Range("n", min=2.5), "r2 r3"),
    (Range("n", above=2.5), "r3"),
    (Range("n", min=1, below=10), "r1 r2"),
    (Range("date", min="2026-05-15"), "r4"),
    (Range("kind", max="fact"), "r1 r2"),
    (Exists("kind"), "r1 r2 r3"),
    (Exists("kind", False), "r4 r5"),
    (And((Eq("kind", "fact"), Eq("tags", "a"))), "r1"),
    (And(()), "r1 r2 r3 r4 r5"),
    (Or((Eq("kind", "note"), Eq("n", "1"))), "r3 r4"),
    (Or(()), ""),
    (Not(Eq("kind", "fact")), "r3 r4 r5"),
    (Not(Or((Exists("kind"), Exists("quote")))), "r4"),
    (Eq("quote", 'it\'s "so" -- ; % _'), "r5"),
    (Eq("quote", "it's%"), ""),
    (Eq("kind' OR '1'='1", "fact"), ""),
    (Eq("@subject", "Ada"), "r1"),
    (Eq("@session", "s-1"), "r1"),
    (Range("@confidence", min=0.9), "r2 r3 r4 r5"),
    (Exists("@who"), "r1"),
    (Eq("@confidence", 10**400), ""),
    (In("@confidence", (0.5, -(10**400), 2)), "r1"),
    (Eq("n", 10**400), ""),
)


class IsolationPromises(MemorySuite):
    """What a memory promises about namespaces and filters."""

    async def test_a_namespace_holds_its_own_and_nothing_else(self, memory: Memory) -> None:
        """In every call: whatever the parts look like."""
        await memory.add([MemoryItem(f"Secret of {n}.", space, "i") for n, space in enumerate(SPACES)])
        for n, space in enumerate(SPACES):
            own = [f"Secret of {n}."]
            assert await texts(memory, Selection(space)) == own
            assert said(await find(memory, "secret", space)) == own
            kept = await memory.get(space, "i")
            assert kept is not None
            assert [kept.text] == own
            assert (await memory.stats(Selection(space))).items == 1

    async def test_below_takes_those_that_begin_with_it_part_by_part(self, memory: Memory) -> None:
        """("a",) is the begin of ("a", "b"), and not of ("ab",)."""
        await memory.add([MemoryItem(f"Secret of {n}.", space) for n, space in enumerate(SPACES)])
        for space in (*SPACES, ()):
            expected = {f"Secret of {n}." for n, other in enumerate(SPACES) if other[: len(space)] == space}
            assert set(await texts(memory, Selection(space, below=True))) == expected

    async def test_nothing_is_in_the_empty_namespace(self, memory: Memory) -> None:
        """Only below it."""
        await keep(memory, "Ada's.")
        assert await texts(memory, Selection(())) == []
        with pytest.raises(InvalidInput):
            MemoryItem("Nobody's.", ())

    async def test_forgetting_in_one_namespace_leaves_the_others(self, memory: Memory) -> None:
        """Also if ids, subjects and sessions are the same."""
        told = Provenance(session="s-1")
        for space in (ADA, BOB):
            await keep(memory, "Secret.", namespace=space, id="i", subject="x", provenance=told)
        for select in (Selection(ADA, ids=("i",)), Selection(ADA, subject="x"), Selection(ADA, session="s-1")):
            await memory.forget(select)
            assert await texts(memory) == ["Secret."]
        assert await texts(memory, Selection(BOB)) == ["Secret."]

    async def test_a_filter_means_the_same_everywhere(self, memory: Memory) -> None:
        """In lists, in searches and in JSON."""
        told = Provenance(session="s-1", who="Ada")
        rows = [MemoryItem(f"Row {id}.", ADA, id, metadata) for id, metadata in ROWS]
        await memory.add([replace(rows[0], subject="Ada", provenance=told, confidence=0.5), *rows[1:]])
        for filter, expected in FITS:
            for one in (filter, filter_from_json(filter_to_json(filter))):
                page = await memory.items(Selection(ADA, filter=one))
                assert " ".join(sorted(item.id for item in page.items)) == expected, filter
                hits = await memory.search(MemoryQuery("row", Selection(ADA, filter=one)))
                assert " ".join(sorted(hit.item.id for hit in hits)) == expected, filter

    async def test_hostile_filters_find_what_they_say(self, memory: Memory) -> None:
        """Values and names of fields are data."""
        for n, text in enumerate(HOSTILE):
            await memory.add([MemoryItem(f"Row {n}.", ADA, f"i-{n}", {text[:200]: text})])
        for n, text in enumerate(HOSTILE):
            page = await memory.items(Selection(ADA, filter=Eq(text[:200], text)))
            assert [item.id for item in page.items] == [f"i-{n}"]

    async def test_filters_that_are_none_are_refused(self, memory: Memory) -> None:
        """With the place; before anything is asked."""
        deep: object = {"field": "a", "eq": 1}
        for _ in range(40):
            deep = {"not": deep}
        wrong: tuple[object, ...] = (
            deep,
            {},
            [],
            "x",
            {"field": "a"},
            {"field": "", "eq": 1},
            {"field": "a", "eq": [1]},
            {"and": {}},
        )
        more: tuple[object, ...] = (
            {"field": "a", "like": "%"},
            {"field": "@nope", "eq": 1},
            {"field": "a", "min": True},
            {"or": [1]},
            {"field": "a", "eq": 10**5000},
            {"field": "a", "min": -(10**5000)},
        )
        for one in (*wrong, *more):
            with pytest.raises(InvalidInput):
                filter_from_json(one)
