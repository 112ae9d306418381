"""Workers have what has expired leave the files of the memory that they use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from opspawn.agentkit.memories import Memories
from opspawn.contracts.clock import SYSTEM_CLOCK
from opspawn.contracts.memory import MemoryItem
from opspawn.memories.sqlite import open_memory
from opspawn.ops.purging import keep_memory
from opspawn.plugins import Plugins
from opspawn.testing.memory_promises import ADA
from opspawn.testing.memory_promises.forgetting import SECRET, traces


@pytest.fixture
async def memories(tmp_path: Path) -> AsyncIterator[Memories]:
    made = Memories(Plugins.load(), {}, memory="sqlite", embedder=None, data=str(tmp_path))
    yield made
    await made.aclose()


async def test_what_has_expired_leaves_the_files_while_the_memory_is_in_use(tmp_path: Path, memories: Memories) -> None:
    """And not before anybody uses it: nothing is opened for this."""
    past = datetime.now(UTC) - timedelta(minutes=2)
    before = await open_memory(str(tmp_path / "memory.db"))
    await before.add([MemoryItem(f"The code is {SECRET}.", ADA, expires=past), MemoryItem("Tea.", ADA)])
    await before.aclose()

    keeper = asyncio.create_task(keep_memory(memories, SYSTEM_CLOCK, look_s=0.001, every_s=0.001))
    await asyncio.sleep(0.05)
    assert memories.opened is None
    assert traces(tmp_path, SECRET)

    await memories.get()
    while traces(tmp_path, SECRET):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    keeper.cancel()


class Failing:
    """A memory in use of which nothing can be removed."""

    def __init__(self) -> None:
        self.tries = asyncio.Semaphore(0)

    @property
    def opened(self) -> Failing:
        return self

    async def purge(self) -> int:
        self.tries.release()
        raise OSError("The disk is gone.")


async def test_a_purge_that_fails_is_tried_again() -> None:
    failing = Failing()
    keeper = asyncio.create_task(keep_memory(cast(Memories, failing), SYSTEM_CLOCK, look_s=0.001, every_s=0.001))
    for _ in range(3):
        await failing.tries.acquire()
    assert not keeper.done()
    keeper.cancel()
