"""The in-process waker."""

from __future__ import annotations

import asyncio

from opspawn.wakers.local import LocalWaker
from opspawn.wakers.plugin import open_waker, opspawn_wakers

LONG = 3600.0


async def started(waker: LocalWaker, *queues: str) -> asyncio.Task[None]:
    """A wait that has begun."""
    waiting = asyncio.ensure_future(waker.wait(queues, LONG))
    await asyncio.sleep(0)
    return waiting


async def test_a_ring_wakes_who_waits_for_the_queue() -> None:
    """All of them, and nobody else."""
    waker = LocalWaker()
    first, second, other = await started(waker, "a", "b"), await started(waker, "a"), await started(waker, "c")
    waker.ring("a")
    async with asyncio.timeout(20):
        await asyncio.gather(first, second)
    assert not other.done()
    other.cancel()


async def test_a_ring_before_the_wait_is_kept() -> None:
    """Once: the wait after that one waits."""
    waker = LocalWaker()
    waker.ring("a")
    waker.ring("a")
    async with asyncio.timeout(20):
        await waker.wait(("a",), LONG)
    again = await started(waker, "a")
    await asyncio.sleep(0.05)
    assert not again.done()
    again.cancel()


async def test_a_wait_ends_by_itself() -> None:
    await LocalWaker().wait(("a",), 0.01)


async def test_a_ring_from_another_thread_arrives() -> None:
    waker = LocalWaker()
    waiting = await started(waker, "a")
    await asyncio.to_thread(waker.ring, "a")
    async with asyncio.timeout(20):
        await waiting


async def test_a_cancelled_wait_does_not_swallow_a_ring() -> None:
    """The next wait gets it."""
    waker = LocalWaker()
    waiting = await started(waker, "a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    waker.ring("a")
    async with asyncio.timeout(20):
        await waker.wait(("a",), LONG)


async def test_closing_wakes_everybody() -> None:
    """And may be done twice; nobody waits from then on."""
    waker = LocalWaker()
    waiting = await started(waker, "a")
    await waker.aclose()
    await waker.aclose()
    async with asyncio.timeout(20):
        await waiting
        await waker.wait(("a",), LONG)


async def test_the_plugin_offers_it_by_name() -> None:
    (record,) = opspawn_wakers()
    assert record.name == "local"
    assert isinstance(await open_waker(None), LocalWaker)
