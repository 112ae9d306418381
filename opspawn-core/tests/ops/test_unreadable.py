"""A row that cannot be read concerns its own task: it ends, and everything else goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opspawn.contracts.numbers import MAX_DIGITS
from opspawn.contracts.store import Put, Query, Record, TaskState
from opspawn.errors import InvalidInput, StoreError
from opspawn.testing.store_promises import commit

LONG = "1" + "0" * 5000


def spoil(store: Any, change: str, *values: Any) -> None:
    """Write into the database what no version of today writes."""
    with store._source.lock:
        store._source.connection.execute(change, values)


@pytest.fixture
def told(house: Any) -> Any:
    @house.function
    async def double(ctx: Any) -> Any:
        return await ctx.step("double", lambda: ctx.input * 2)

    return house


async def test_a_number_that_nobody_could_read_again_is_refused_as_input(told: Any) -> None:
    with pytest.raises(InvalidInput, match=f"at n it has a number of more than {MAX_DIGITS:,} digits"):
        await told.submit("double", {"n": 10**5000})


async def test_a_step_and_a_run_that_return_such_a_number_fail_with_its_place(house: Any) -> None:
    @house.function
    async def step(ctx: Any) -> Any:
        return await ctx.step("huge", lambda: [10**5000])

    @house.function
    async def whole(ctx: Any) -> Any:
        return 10**5000

    for name, place in (("step", r"at [0] it has"), ("whole", "it is")):
        ended = await house.run(name)
        assert (ended.state, ended.error["type"]) == ("failed", "invalid_output")
        assert f"{place} a number of more than 4,000 digits" in ended.error["message"]


async def test_a_task_whose_input_cannot_be_read_fails_and_the_others_run(told: Any) -> None:
    bad, good = await told.submit("double", 1), await told.submit("double", 21)
    spoil(told.store, "UPDATE tasks SET input = ? WHERE id = ?", LONG, bad.id)

    told.worker()

    assert (await told.settled(good)).result == 42
    ended = await told.settled(bad)
    assert (ended.state, ended.error["type"]) == ("failed", "unreadable")
    assert "Its input cannot be read from the store: Exceeds the limit (4300 digits)" in ended.error["message"]
    page = await told.store.find_tasks(Query())
    assert {task.id for task in page.items} == {bad.id, good.id}
    [(kept,)] = told.store._source.connection.execute("SELECT input FROM tasks WHERE id = ?", (bad.id,)).fetchall()
    assert kept == LONG, "what stands there is nobody's to overwrite"


async def test_a_task_whose_journal_cannot_be_read_repeats_nothing_and_fails(house: Any) -> None:
    calls = []

    @house.function
    async def pay(ctx: Any) -> Any:
        await ctx.step("pay", lambda: calls.append(1))
        await ctx.wait("go")

    house.worker()
    task = await house.submit("pay")
    await house.reaches(task, TaskState.WAITING)
    change = "UPDATE events SET data = ? WHERE type = 'step.done'"
    [(whole,)] = house.store._source.connection.execute("SELECT data FROM events WHERE type = 'step.done'").fetchall()
    spoil(house.store, change, '{"key": ')
    await house.engine.signal(task.id, "go")

    ended = await house.settled_for_good(task)

    assert (ended.state, ended.error["type"], calls) == ("failed", "unreadable", [1])
    assert "The event step.done at" in ended.error["message"]
    spoil(house.store, change, whole)  # the house reads all journals once more


async def test_a_tail_shows_an_event_that_cannot_be_read_as_such_and_goes_on(told: Any) -> None:
    first, second = await told.submit("double", 1), await told.submit("double", 2)
    spoil(told.store, "UPDATE events SET data = ? WHERE task = (SELECT seq FROM tasks WHERE id = ?)", LONG, first.id)

    tail = told.store.tail(0)
    async with asyncio.timeout(20):
        shown = [await anext(tail), await anext(tail)]
    await tail.aclose()

    assert [event.task for event in shown] == [first.id, second.id]
    assert list(shown[0].data) == ["$unreadable"]


async def test_a_tail_outlives_whatever_goes_wrong_in_it(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = told.store._hub
    offer = hub._offer

    def broken(*arguments: Any) -> None:
        monkeypatch.setattr(hub, "_offer", offer)
        raise RuntimeError("unforeseen")

    tail = told.store.tail()
    coming = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0)
    monkeypatch.setattr(hub, "_offer", broken)
    task = await told.submit("double", 1)
    async with asyncio.timeout(20):
        assert (await coming).task == task.id
        other = await told.submit("double", 2)
        assert (await anext(tail)).task == other.id
    await tail.aclose()


async def test_a_record_that_cannot_be_read_is_left_out_of_lists_and_says_so_itself(house: Any) -> None:
    await commit(house.store, Put(Record("k", "bad", {}), 0), Put(Record("k", "good", {}), 0))
    spoil(house.store, "UPDATE records SET data = ? WHERE id = 'bad'", LONG)

    assert [record.id for record in (await house.store.find("k", Query())).items] == ["good"]
    with pytest.raises(StoreError, match="The record k/bad cannot be read"):
        await house.store.get("k", "bad")
