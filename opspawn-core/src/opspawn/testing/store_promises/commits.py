"""Commits: all or nothing, versions, fences, and the end of a task."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from opspawn.contracts.numbers import LARGEST, MAX_DIGITS
from opspawn.contracts.store import MAX_BATCH_BYTES, MAX_OPERATIONS, Batch, Put, Record, Store, TaskState
from opspawn.errors import Conflict, InvalidInput, StoreError
from opspawn.testing.store_promises import (
    a_task,
    claim,
    commit,
    create,
    created_and_claimed,
    ended,
    put,
    step,
    the_record,
    the_task,
    wake,
)

AWKWARD = {
    "text": "a\u0000b \U0001f600 \u2028",
    "half": "\ud83d",
    "big": 2**53 + 1,
    "deep": [[], {}, None, 0.1, -0.0, True],
}


class CommitPromises:
    """What `commit` promises."""

    async def test_everything_of_a_task_comes_back(self, store: Store) -> None:
        """Whatever JSON a task carries is read as it was written."""
        task = a_task(
            agent="a", session="s", parent="p", root="r", priority=-2, input=AWKWARD, result=[1], error={"type": "x"},
            attempt=2, retry={"attempts": 3}, timeout_s=1.5, deliveries=1, labels={"k": "v"}, retry_of="t0",
        )  # fmt: skip
        kept = await create(store, task, due_in_s=None)
        assert kept == replace(task, version=1, created=kept.created, updated=kept.updated)

    async def test_a_new_task_is_stamped_by_the_store(self, store: Store) -> None:
        """Creation starts at version 1, with the receipt's time, due at once, whatever the writer filled in."""
        liar = replace(a_task(), version=7, token=7, wakes=7, owner="w9", created=datetime(2000, 1, 1, tzinfo=UTC))
        receipt = await commit(store, Put(liar, expect=0))
        task = await the_task(store)
        assert (task.version, task.token, task.wakes, task.owner, task.ended) == (1, 0, 0, None, None)
        assert task.created == task.updated == task.due == receipt.time
        assert receipt.time.utcoffset() == timedelta(0)

    async def test_a_receipt_tells_versions_and_positions_in_order(self, store: Store) -> None:
        """One version per Put, one growing position per Append; a Wake has neither."""
        receipt = await commit(
            store, Put(a_task("t1"), 0), step(), wake(), Put(Record("k", "i", {}), 0), step(), step(task="absent")
        )
        assert list(receipt.versions) == [1, 1]
        first, second, nothing = receipt.positions
        assert 0 < first < second
        assert nothing == 0

    async def test_an_empty_batch_does_nothing(self, store: Store) -> None:
        """It has a receipt all the same."""
        receipt = await store.commit(Batch(()))
        assert (list(receipt.versions), list(receipt.positions)) == ([], [])

    async def test_an_id_is_given_once(self, store: Store) -> None:
        """Creating what exists is a conflict."""
        await create(store)
        with pytest.raises(Conflict):
            await commit(store, Put(a_task(input="other"), expect=0))
        assert (await the_task(store)).input is None

    async def test_what_does_not_exist_cannot_be_changed(self, store: Store) -> None:
        """A version is expected of something that is not there."""
        with pytest.raises(Conflict):
            await commit(store, Put(a_task(), expect=1))
        with pytest.raises(Conflict):
            await commit(store, Put(Record("k", "i", {}), expect=1))

    async def test_an_old_version_is_refused(self, store: Store) -> None:
        """Of two that read the same version, the second to write is refused."""
        task = await create(store)
        await put(store, task, TaskState.PAUSED, fenced=False)
        with pytest.raises(Conflict):
            await put(store, task, TaskState.CANCELLED, fenced=False)
        assert (await the_task(store)).state == TaskState.PAUSED

    async def test_of_many_writers_of_one_version_one_wins(self, store: Store) -> None:
        """The same when they all come at once."""
        task = await create(store)
        tries = (put(store, task, TaskState.QUEUED, fenced=False, fields={"input": n}) for n in range(20))
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [Conflict] * 19
        assert (await the_task(store)).version == 2

    async def test_a_batch_that_conflicts_leaves_nothing(self, store: Store) -> None:
        """What stood before the conflicting operation is undone with it."""
        await create(store, "t1", due_in_s=None)
        with pytest.raises(Conflict):
            await commit(
                store, step(), wake(), Put(a_task("t2"), 0), Put(Record("k", "i", {}), 0), Put(a_task("t1"), 0)
            )
        assert await store.journal("t1") == []
        assert (await the_task(store)).wakes == 0
        assert await store.get_task("t2") is None
        assert await store.get("k", "i") is None

    async def test_a_conflict_hurts_no_commit_at_the_same_time(self, store: Store) -> None:
        """Commits that travel together fail alone."""
        await create(store)
        good = (commit(store, step({"n": n}), wake()) for n in range(10))
        bad = (commit(store, step({"n": -1}), Put(a_task(), expect=0)) for _ in range(10))
        outcomes = await asyncio.gather(
            *(one for pair in zip(good, bad, strict=True) for one in pair), return_exceptions=True
        )
        assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 10
        assert [event.data["n"] for event in await store.journal("t1")] == list(range(10))

    async def test_a_fence_lets_only_the_current_claim_append(self, store: Store) -> None:
        """Neither a former nor a future token may append."""
        task = await created_and_claimed(store)
        await commit(store, step(token=task.token))
        for token in (task.token - 1, task.token + 1):
            with pytest.raises(Conflict):
                await commit(store, step(token=token))
        assert [event.type for event in await store.journal("t1")] == ["task.claimed", "step.done"]

    async def test_a_fence_lets_only_the_current_claim_put(self, store: Store) -> None:
        """A former token is refused even with the right version."""
        task = await created_and_claimed(store)
        with pytest.raises(Conflict):
            await put(store, replace(task, token=task.token - 1), TaskState.SUCCEEDED)
        assert (await the_task(store)).state == TaskState.RUNNING

    async def test_a_claim_is_over_once_it_has_put(self, store: Store) -> None:
        """The Put that gives a task back raises its token and frees it; neither token can write any more."""
        task = await created_and_claimed(store)
        await put(store, task, TaskState.QUEUED, due_in_s=None)
        free = await the_task(store)
        assert (free.state, free.owner, free.due) == (TaskState.QUEUED, None, None)
        assert free.token > task.token
        for token in (task.token, free.token):
            with pytest.raises(Conflict):
                await commit(store, step(token=token))
            with pytest.raises(Conflict):
                await put(store, replace(free, token=token), TaskState.SUCCEEDED)

    async def test_an_absent_task_has_no_claim(self, store: Store) -> None:
        """A fenced append, or a creation under a token, is a conflict."""
        with pytest.raises(Conflict):
            await commit(store, step(token=0))
        with pytest.raises(Conflict):
            await commit(store, Put(a_task(), expect=0, token=0))

    async def test_nobody_writes_anothers_started_task(self, store: Store) -> None:
        """A Put without token on a running task is a conflict, even after its lease has ended."""
        task = await created_and_claimed(store, lease_s=0.0)
        with pytest.raises(Conflict):
            await put(store, task, TaskState.CANCELLED, fenced=False)
        assert (await the_task(store)).state == TaskState.RUNNING

    async def test_only_a_claim_starts_a_task(self, store: Store) -> None:
        """A Put cannot make a task running."""
        with pytest.raises(StoreError):
            await commit(store, Put(a_task(state=TaskState.RUNNING), expect=0))
        assert await store.get_task("t1") is None

    @pytest.mark.parametrize("state", [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED])
    async def test_an_ended_task_never_changes(self, store: Store, state: TaskState) -> None:
        """A Put on it is a conflict; an inbox event and a wake do nothing."""
        task = await ended(store, state=state)
        journal = await store.journal("t1")
        for token in (None, task.token, task.token - 1):
            with pytest.raises(Conflict):
                await commit(store, Put(replace(task, state=TaskState.QUEUED), expect=task.version, token=token))
        receipt = await commit(store, step(), wake(urgent=True))
        assert list(receipt.positions) == [0]
        assert await the_task(store) == task
        assert await store.journal("t1") == journal
        assert await claim(store) == []

    async def test_an_end_is_stamped(self, store: Store) -> None:
        """`ended` is the time of the commit that ended the task, which is never due again."""
        task = await created_and_claimed(store)
        receipt = await put(store, task, TaskState.FAILED, fields={"error": {"type": "x", "message": "y"}})
        after = await the_task(store)
        assert (after.ended, after.updated, after.due, after.owner) == (receipt.time, receipt.time, None, None)
        assert after.created == task.created
        assert list(receipt.versions) == [after.version] == [task.version + 1]

    async def test_records_are_kept_by_kind_and_id(self, store: Store) -> None:
        """Each has its own versions."""
        await commit(store, Put(Record("k", "i", AWKWARD), 0), Put(Record("other", "i", {}), 0))
        receipt = await commit(store, Put(Record("k", "i", {"n": 2}), expect=1))
        assert list(receipt.versions) == [2]
        assert await the_record(store) == Record("k", "i", {"n": 2}, 2)
        assert await the_record(store, "other") == Record("other", "i", {}, 1)
        assert await store.get("k", "none") is None

    async def test_a_records_old_version_is_refused(self, store: Store) -> None:
        """Neither created twice nor written from an old version."""
        await commit(store, Put(Record("k", "i", {"n": 1}), 0))
        for expect in (0, 2):
            with pytest.raises(Conflict):
                await commit(store, Put(Record("k", "i", {"n": 9}), expect))
        assert await the_record(store) == Record("k", "i", {"n": 1}, 1)

    async def test_a_batch_has_a_size(self, store: Store) -> None:
        """Too many operations or too many bytes are refused, with nothing applied; the most that is allowed passes."""
        await create(store)
        with pytest.raises(StoreError):
            await commit(store, *[step()] * (MAX_OPERATIONS + 1))
        with pytest.raises(StoreError):
            await commit(store, step({"text": "x" * MAX_BATCH_BYTES}))
        await commit(store, *[step()] * MAX_OPERATIONS)
        assert len(await store.journal("t1")) == MAX_OPERATIONS

    async def test_what_is_not_json_is_refused(self, store: Store) -> None:
        """The error names the event; nothing is applied, and the store goes on."""
        await create(store)
        with pytest.raises(StoreError, match=r"step\.done"):
            await commit(store, step({"x": object()}))
        await commit(store, step({"x": 1}))
        assert [event.data for event in await store.journal("t1")] == [{"x": 1}]

    async def test_a_number_that_could_not_be_read_again_is_refused(self, store: Store) -> None:
        """Python reads none of more than 4,300 digits: the longest allowed one comes back, the next is not written."""
        await create(store)
        digits = "9" * (2 * MAX_DIGITS)
        for long in (LARGEST + 1, [digits, -LARGEST - 1]):
            refused = (step({"n": long}), Put(a_task("t2", input=long), 0), Put(Record("k", "i", {"n": long}), 0))
            for operation in refused:
                with pytest.raises(InvalidInput, match=r"4,000 digits"):
                    await commit(store, operation)
        await commit(store, step({"n": [LARGEST, -LARGEST, digits]}))
        assert [event.data for event in await store.journal("t1")] == [{"n": [LARGEST, -LARGEST, digits]}]

    async def test_a_closed_store_says_so(self, store: Store) -> None:
        """`aclose` finishes what was accepted, may be called twice, and whatever comes later is a StoreError."""
        accepted = asyncio.ensure_future(create(store))
        await asyncio.sleep(0)
        await asyncio.gather(store.aclose(), store.aclose())
        with pytest.raises(StoreError):
            await create(store, "t2")
        with pytest.raises(StoreError):
            await store.get_task("t1")
        await asyncio.gather(accepted, return_exceptions=True)
