"""Virtual time passes when nothing else can happen, in the order of real time."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.errors import InvalidInput
from opspawn.testing import VirtualClock, virtual_time
from opspawn.testing.virtual import running_clock


@virtual_time
async def test_timers_fire_in_the_order_of_their_times() -> None:
    clock, seen = running_clock(), []

    async def note(after_s: float) -> None:
        await asyncio.sleep(after_s)
        seen.append((after_s, clock.monotonic()))

    await asyncio.gather(*(note(after_s) for after_s in (86400.0, 0.5, 3600.0)))

    assert seen == [(0.5, 0.5), (3600.0, 3600.0), (86400.0, 86400.0)]


@virtual_time
async def test_time_stands_still_while_something_can_be_done() -> None:
    clock = running_clock()
    timer = asyncio.ensure_future(asyncio.sleep(1e-6))
    for _ in range(1000):
        await asyncio.sleep(0)

    assert clock.monotonic() == 0.0
    await timer
    assert clock.monotonic() == 1e-6


@virtual_time
async def test_time_stands_still_while_a_thread_works() -> None:
    timer = asyncio.ensure_future(asyncio.sleep(1.0))
    await asyncio.to_thread(time.sleep, 0.02)

    assert not timer.done()
    assert running_clock().monotonic() == 0.0
    timer.cancel()


@virtual_time
async def test_a_timeout_counts_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1000.0):
            await asyncio.Event().wait()

    assert running_clock().monotonic() == 1000.0


@virtual_time
async def test_advance_returns_when_all_until_then_has_happened() -> None:
    clock, seen = running_clock(), []

    async def work() -> None:
        for day in range(4):
            await asyncio.sleep(86400.0)
            for _ in range(20):
                await asyncio.sleep(0)
            seen.append(day)

    running = asyncio.create_task(work())
    await clock.advance("3d")

    assert seen == [0, 1, 2]
    assert clock.now() == datetime(2026, 1, 4, tzinfo=UTC)
    await clock.advance(timedelta(days=1))
    assert running.done()


async def test_advance_in_a_real_loop_says_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="@virtual_time"):
        await VirtualClock().advance("1s")


def test_a_plain_function_cannot_run_in_virtual_time() -> None:
    with pytest.raises(InvalidInput, match="async def"):
        virtual_time(lambda: None)  # type: ignore[arg-type,return-value]


@virtual_time
async def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no unit"):
        await running_clock().advance("3")


@pytest.fixture
def lucky() -> int:
    return 7


@virtual_time
async def test_fixtures_arrive(lucky: int) -> None:
    assert lucky == 7


def test_a_seed_decides_what_runs_first() -> None:
    async def race() -> list[int]:
        seen: list[int] = []

        async def runner(number: int) -> None:
            await asyncio.sleep(0)
            seen.append(number)

        await asyncio.gather(*map(runner, range(8)))
        return seen

    def order(seed: int) -> list[int]:
        with asyncio.Runner(loop_factory=lambda: VirtualClock().new_loop(random.Random(seed))) as runner:
            return runner.run(race())

    orders: list[Any] = [order(seed) for seed in range(5)]

    assert orders == [order(seed) for seed in range(5)]
    assert len({tuple(one) for one in orders}) > 1
