"""Rates: spent inside a batch, refilled by time."""

from __future__ import annotations

import asyncio

import pytest

from opspawn.contracts.store import Put as PutRecord
from opspawn.contracts.store import Record, Store, Take
from opspawn.errors import Limited, StoreError
from opspawn.testing.store_promises import commit, create, step, the_record

SLOW = 0.001  # units a second: nothing comes back within a test


def take(amount: float = 1.0, *, key: str = "k", per_s: float = SLOW, burst: float = 5.0, force: bool = False) -> Take:
    """A take of the usual rate."""
    return Take(key, amount, per_s, burst, force)


class RatePromises:
    """What `Take` promises."""

    async def test_a_burst_is_there_at_once(self, store: Store) -> None:
        """As many as the bucket holds, and not one more; each key has its own bucket."""
        for _ in range(5):
            await commit(store, take())
        with pytest.raises(Limited):
            await commit(store, take())
        await commit(store, take(key="other"))

    async def test_a_refusal_says_when_to_come_back(self, store: Store) -> None:
        """After that many seconds the same is granted, and before it is not."""
        await commit(store, take(4.0))
        with pytest.raises(Limited) as caught:
            await commit(store, take(3.0))
        assert caught.value.key == "k"
        assert 1990 < caught.value.retry_after_s <= 2000.1
        await commit(store, take(1.0, key="fast", per_s=20.0, burst=1.0))
        with pytest.raises(Limited) as caught:
            await commit(store, take(1.0, key="fast", per_s=20.0, burst=1.0))
        await asyncio.sleep(caught.value.retry_after_s)
        await commit(store, take(1.0, key="fast", per_s=20.0, burst=1.0))

    async def test_a_refusal_leaves_nothing(self, store: Store) -> None:
        """Neither of the batch, nor spent."""
        await create(store, due_in_s=None)
        with pytest.raises(Limited):
            await commit(store, take(3.0), step(), PutRecord(Record("k", "i", {}), 0), take(3.0))
        assert await store.journal("t1") == []
        assert await store.get("k", "i") is None
        await commit(store, take(5.0))

    async def test_what_was_not_used_is_given_back(self, store: Store) -> None:
        """By a negative amount, up to a full bucket and no further."""
        await commit(store, take(5.0))
        await commit(store, take(-2.0))
        await commit(store, take(2.0))
        with pytest.raises(Limited):
            await commit(store, take())
        await commit(store, take(-100.0))
        await commit(store, take(5.0))
        with pytest.raises(Limited):
            await commit(store, take())

    async def test_force_spends_into_debt(self, store: Store) -> None:
        """What has happened is counted, and others wait for it longer."""
        await commit(store, take(5.0))
        await commit(store, take(5.0, force=True))
        with pytest.raises(Limited) as caught:
            await commit(store, take(1.0))
        assert 5990 < caught.value.retry_after_s <= 6000.1

    async def test_more_than_a_burst_is_granted_to_a_full_bucket(self, store: Store) -> None:
        """Into debt, since it could never be granted otherwise."""
        await commit(store, take(8.0))
        with pytest.raises(Limited) as caught:
            await commit(store, take(8.0))
        assert 7990 < caught.value.retry_after_s <= 8000.1

    @pytest.mark.parametrize(
        "wrong", [take(per_s=0.0), take(burst=0.0), take(float("nan")), take(float("inf")), take(per_s=-1.0)]
    )
    async def test_a_rate_that_makes_no_sense_is_refused(self, store: Store, wrong: Take) -> None:
        """Nothing of the batch is applied."""
        with pytest.raises(StoreError) as caught:
            await commit(store, PutRecord(Record("k", "i", {}), 0), wrong)
        assert not isinstance(caught.value, Limited)
        assert await store.get("k", "i") is None

    async def test_a_rate_is_spent_with_the_rest_of_the_batch(self, store: Store) -> None:
        """Both or neither, also when the rest is refused."""
        await commit(store, PutRecord(Record("k", "i", {}), 0))
        with pytest.raises(StoreError):
            await commit(store, take(5.0), PutRecord(Record("k", "i", {}), 0))
        await commit(store, take(5.0), PutRecord(Record("k", "i", {"n": 1}), 1))
        assert (await the_record(store)).data == {"n": 1}
