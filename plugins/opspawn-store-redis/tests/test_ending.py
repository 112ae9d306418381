"""Tasks end for good, whatever swallows their cancellations."""

from __future__ import annotations

import asyncio

import pytest

from opspawn_store_redis.ending import end


async def _deaf(times: int) -> None:
    """Swallow so many cancellations, then end with an error."""
    while times:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            times -= 1
    raise ConnectionError("closed")


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    deaf = asyncio.ensure_future(_deaf(2))
    await asyncio.sleep(0)
    await end((deaf, None))
    assert deaf.done()


async def test_no_task_is_left_behind_by_an_ending_that_is_cancelled_itself() -> None:
    """Or it fails later on, where nobody asks, and asyncio complains about it on a terminal."""
    deaf = asyncio.ensure_future(_deaf(2))
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(end((deaf,)))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert deaf.done()
