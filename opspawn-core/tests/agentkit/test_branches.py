"""A run is idle when every branch waits, no step is in flight, and one at least waits for something outside."""

from __future__ import annotations

import asyncio
import time

import pytest

from opspawn.agentkit.branches import Branches


class Told:
    """Counts how often a run was told to be idle."""

    def __init__(self) -> None:
        self.times = 0
        self.branches = Branches(self)

    def __call__(self) -> None:
        self.times += 1


@pytest.fixture
def told() -> Told:
    return Told()


async def turns(count: int = 12) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_branch_that_waits_for_something_outside_is_an_idle_run(told: Told) -> None:
    with told.branches.waiting(outside=True):
        assert told.branches.idle
        assert told.times == 0  # not before others had their turn
        await turns()
        assert told.times == 1
    assert not told.branches.idle


async def test_a_wait_for_another_branch_alone_is_a_deadlock_and_not_idleness(told: Told) -> None:
    with told.branches.waiting(outside=False):
        await turns()

    assert told.times == 0


async def test_a_step_in_flight_is_work(told: Told) -> None:
    with told.branches.waiting(outside=True):
        with told.branches:
            await turns()
            assert told.times == 0
        await turns()
        assert told.times == 1


async def test_every_branch_must_wait(told: Told) -> None:
    told.branches.fork(3)
    with told.branches.waiting(outside=True):
        await turns()
        assert told.times == 0
        told.branches.ended()
        with told.branches.waiting(outside=False):
            await turns()
            assert told.times == 1


async def test_a_branch_that_ends_leaves_the_others_idle(told: Told) -> None:
    told.branches.fork(2)
    with told.branches.waiting(outside=True):
        await turns()
        told.branches.ended()
        await turns()

    assert told.times == 1


async def test_a_branch_that_was_released_by_another_gets_its_turn_first(told: Told) -> None:
    done = asyncio.Event()
    told.branches.fork(2)

    async def waits() -> None:
        with told.branches.waiting(outside=False):
            await done.wait()
        with told.branches:
            await turns(30)

    async def releases() -> None:
        done.set()
        with told.branches.waiting(outside=True):
            await turns(20)

    await asyncio.gather(waits(), releases())

    assert told.times == 0


async def test_the_soonest_timer_is_known(told: Told) -> None:
    now = time.time()
    with told.branches.waiting(outside=True, until=now + 9):
        assert told.branches.only_timers
        with told.branches.waiting(outside=True, until=now + 5):
            assert told.branches.soonest == now + 5
        assert told.branches.soonest == now + 9
        with told.branches.waiting(outside=True):
            assert not told.branches.only_timers
    assert told.branches.soonest is None


async def test_while_draining_no_step_begins_and_the_run_soon_is_idle(told: Told) -> None:
    await told.branches.gate()
    told.branches.drain()
    held = asyncio.create_task(told.branches.gate())
    await turns()

    assert not held.done()
    assert told.times == 1
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


async def test_a_halted_branch_stands_still_until_the_code_is_unwound(told: Told) -> None:
    halted = asyncio.create_task(told.branches.halt())
    gated = asyncio.create_task(told.branches.gate())
    await turns()
    stood_still = not halted.done() and not gated.done()
    told.branches.closed = True
    for task in (halted, gated):
        task.cancel()
    await asyncio.gather(halted, gated, return_exceptions=True)

    assert stood_still
    await told.branches.halt()  # after a moment only, so that code which swallows everything cannot spin
    await told.branches.gate()
