"""Checks: of records at a version, which nothing is written to."""

from __future__ import annotations

import asyncio

import pytest

from opspawn.contracts.store import Check, Delete, Put, Record, Store
from opspawn.errors import Conflict
from opspawn.testing.store_promises import commit


class CheckPromises:
    """What `Check` promises."""

    async def test_a_batch_with_a_check_holds_while_the_record_stands_at_the_version(self, store: Store) -> None:
        """Another version, or nothing there, is a conflict, and nothing of the batch is applied."""
        await commit(store, Put(Record("k", "i", {}), 0))
        for wrong in (Check("k", "i", 0), Check("k", "i", 2), Check("k", "j", 1), Check("other", "i", 1)):
            with pytest.raises(Conflict):
                await commit(store, Put(Record("k", "beside", {}), 0), wrong)
            with pytest.raises(Conflict):
                await commit(store, wrong, Put(Record("k", "beside", {}), 0))
        assert await store.get("k", "beside") is None
        receipt = await commit(store, Put(Record("k", "beside", {}), 0), Check("k", "i", 1), Check("k", "j", 0))
        assert list(receipt.versions) == [1]

    async def test_a_check_writes_nothing(self, store: Store) -> None:
        """So that many may check the same at once."""
        await commit(store, Put(Record("k", "i", {}), 0))
        before = await store.get("k", "i")
        await asyncio.gather(*(commit(store, Put(Record("k", f"of-{n}", {}), 0), Check("k", "i", 1)) for n in range(9)))
        assert await store.get("k", "i") == before
        assert await store.get("k", "absent") is None

    async def test_a_check_sees_what_its_batch_did_before(self, store: Store) -> None:
        """In the order of the operations."""
        await commit(store, Put(Record("k", "i", {}), 0), Check("k", "i", 1), Put(Record("k", "i", {}), 1))
        await commit(store, Check("k", "i", 2), Delete("k", "i", 2), Check("k", "i", 0))
        with pytest.raises(Conflict):
            await commit(store, Put(Record("k", "i", {}), 0), Check("k", "i", 0))
        assert await store.get("k", "i") is None
