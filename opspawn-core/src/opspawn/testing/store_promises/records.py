"""Records other than tasks: their times, and how they are found."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.store import MAX_FIELDS, Put, Query, Record, Store
from opspawn.errors import InvalidInput, StoreError
from opspawn.testing.store_promises import commit


async def found(store: Store, kind: str = "k", **query: Any) -> list[str]:
    """The ids of the records that match."""
    return [record.id for record in (await store.find(kind, Query(**query))).items]


async def some_records(store: Store) -> None:
    """Four records, three of them of one kind."""
    fields = ({"agent": "a", "state": "open"}, {"agent": "a", "state": "done"}, {"agent": "b"})
    for n, each in enumerate(fields):
        await commit(store, Put(Record("k", f"r{n}", {"n": n}, fields=each), 0))
    await commit(store, Put(Record("other", "r0", {}, fields={"agent": "a"}), 0))


class RecordPromises:
    """What records promise beyond their versions."""

    async def test_a_record_comes_back_with_fields_and_times(self, store: Store) -> None:
        """`created` stays, `updated` is that of the last Put, whatever the writer filled in."""
        first = await commit(store, Put(Record("k", "i", {"n": 1}, fields={"a": "x"}), 0))
        made = await store.get("k", "i")
        assert made == Record("k", "i", {"n": 1}, 1, {"a": "x"}, first.time, first.time)
        await asyncio.sleep(0.002)
        second = await commit(store, Put(Record("k", "i", {"n": 2}), 1))
        assert await store.get("k", "i") == Record("k", "i", {"n": 2}, 2, {}, first.time, second.time)

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            ({}, ["r2", "r1", "r0"]),
            ({"agent": "a"}, ["r1", "r0"]),
            ({"agent": "a", "state": "open"}, ["r0"]),
            ({"id": "r1"}, ["r1"]),
            ({"id": "r1", "agent": "b"}, []),
            ({"unheard_of": "x"}, []),
        ],
    )
    async def test_records_are_found_by_their_fields(
        self, store: Store, where: dict[str, str], expected: list[str]
    ) -> None:
        """Of one kind, newest first; every given field must be equal."""
        await some_records(store)
        assert await found(store, where=where) == expected

    async def test_a_put_changes_by_what_a_record_is_found(self, store: Store) -> None:
        """The former fields find it no longer; its place among the others stays."""
        await some_records(store)
        await commit(store, Put(Record("k", "r0", {}, fields={"agent": "b", "new": "x"}), 1))
        assert await found(store, where={"agent": "a"}) == ["r1"]
        assert await found(store, where={"agent": "b"}) == ["r2", "r0"]
        assert await found(store, where={"new": "x"}) == ["r0"]
        assert await found(store, where={"state": "open"}) == []

    async def test_pages_of_records_continue(self, store: Store) -> None:
        """Without gap or repetition, also by a field, and by the time of creation."""
        await some_records(store)
        first = await store.find("k", Query(limit=2))
        second = await store.find("k", Query(limit=2, cursor=first.cursor))
        assert [[record.id for record in page.items] for page in (first, second)] == [["r2", "r1"], ["r0"]]
        assert second.cursor is None
        page = await store.find("k", Query({"agent": "a"}, limit=1))
        assert await found(store, where={"agent": "a"}, cursor=page.cursor) == ["r0"]
        assert await found(store, before=first.items[0].created, after=second.items[0].created) == ["r1", "r0"]

    @pytest.mark.parametrize(
        "fields",
        [{f"f{n}": "x" for n in range(MAX_FIELDS + 1)}, {"with space": "x"}, {"": "x"}, {"f" * 33: "x"}, {"f": 1}],
    )
    async def test_fields_are_few_short_names_with_texts(self, store: Store, fields: dict[str, Any]) -> None:
        """Anything else is refused."""
        with pytest.raises(StoreError):
            await commit(store, Put(Record("k", "i", {}, fields=fields), 0))
        assert await store.get("k", "i") is None

    @pytest.mark.parametrize(
        "query",
        [Query(limit=0), Query(limit=201), Query(cursor="none"), Query({"a b": "x"}), Query(labels={"a": "b"})],
    )
    async def test_a_question_about_records_that_cannot_be_answered_is_refused(
        self, store: Store, query: Query
    ) -> None:
        """Labels are of tasks; limits, cursors and names are checked."""
        with pytest.raises(InvalidInput):
            await store.find("k", query)
