"""Lost replies: whoever asks again under the same id gets the first answer, and nothing happens twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from opspawn.contracts.store import Batch, Claim, Put, Record, Store, TaskState
from opspawn.errors import Conflict
from opspawn.testing.store_promises import a_task, claim, create, ids, put, step, the_task

CLAIM = Claim("w1", ("default",), ("function/work",), 1, 60.0, id="c1")


class ReplyPromises:
    """What `Batch.id` and `Claim.id` promise."""

    async def test_a_batch_is_applied_once(self, store: Store) -> None:
        """The second answer is the first: same versions, positions and time."""
        await create(store, due_in_s=None)
        batch = Batch([step({"n": 1}), Put(Record("k", "i", {}), 0)], id="b1")
        first = await store.commit(batch)
        await asyncio.sleep(0.002)
        second = await store.commit(batch)
        assert (list(second.versions), list(second.positions)) == ([1], list(first.positions))
        assert second.time == first.time
        assert len(await store.journal("t1")) == 1

    async def test_a_batch_that_comes_twice_at_once_is_applied_once(self, store: Store) -> None:
        """Both get the same answer."""
        await create(store, due_in_s=None)
        receipts = await asyncio.gather(*(store.commit(Batch([step({"n": 1})], id="b1")) for _ in range(10)))
        assert len({receipt.positions[0] for receipt in receipts}) == 1
        assert len(await store.journal("t1")) == 1

    async def test_batches_without_an_id_or_with_another_are_applied_each(self, store: Store) -> None:
        """Only the id says that two are the same."""
        await create(store, due_in_s=None)
        for id in (None, None, "b1", "b2"):
            await store.commit(Batch([step({"n": 1})], id))
        assert len(await store.journal("t1")) == 4

    async def test_a_refused_batch_may_be_tried_again(self, store: Store) -> None:
        """Nothing was applied, so there is nothing to repeat: it is judged anew."""
        batch = Batch([Put(Record("k", "i", {"n": 2}), 1)], id="b1")
        with pytest.raises(Conflict):
            await store.commit(batch)
        await store.commit(Batch([Put(Record("k", "i", {"n": 1}), 0)]))
        await store.commit(batch)
        receipt = await store.commit(batch)
        assert list(receipt.versions) == [2]

    async def test_a_claim_is_made_once(self, store: Store) -> None:
        """The second answer is the first, with the tokens of then; another id claims what is left."""
        await create(store, "t1")
        await create(store, "t2")
        first = await store.claim(CLAIM)
        second = await store.claim(CLAIM)
        assert second == first
        assert ids(first) == ["t1"]
        assert ids(await store.claim(replace(CLAIM, id="c2"))) == ["t2"]
        assert [event.type for event in await store.journal("t1")] == ["task.claimed"]

    async def test_a_claim_that_found_nothing_is_remembered_too(self, store: Store) -> None:
        """Empty is an answer."""
        assert await store.claim(CLAIM) == []
        await create(store)
        assert await store.claim(CLAIM) == []
        assert len(await claim(store)) == 1

    async def test_a_repeated_claim_says_nothing_of_now(self, store: Store) -> None:
        """What was leased then may be over: the fence decides."""
        await create(store)
        (lease,) = await store.claim(CLAIM)
        await put(store, lease.task, TaskState.SUCCEEDED)
        (again,) = await store.claim(CLAIM)
        with pytest.raises(Conflict):
            await put(store, again.task, TaskState.FAILED)
        assert (await the_task(store)).state is TaskState.SUCCEEDED

    async def test_ids_of_batches_and_claims_are_apart(self, store: Store) -> None:
        """The same id may name one of each."""
        await store.commit(Batch([Put(a_task(), 0)], id="same"))
        assert ids(await store.claim(replace(CLAIM, id="same"))) == ["t1"]
