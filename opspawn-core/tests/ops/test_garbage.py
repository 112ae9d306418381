"""What a run was made of goes with it, without a search for cyclic garbage."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def no_search() -> Iterator[None]:
    """Python does not look for cyclic garbage meanwhile."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_an_ended_run_goes_at_once(house: Any, no_search: None) -> None:
    alive: list[weakref.ref[Any]] = []

    @house.function
    async def work(ctx: Any) -> int:
        alive.extend(map(weakref.ref, (ctx, ctx._log, ctx._log.history)))
        return sum([await ctx.step("step", one, number) for number in range(3)])

    async def one(number: int) -> int:
        return number

    await house.run("work")
    await house.until(lambda: not any(worker.running for worker in house._workers))

    assert len(alive) == 3
    assert [ref() for ref in alive] == [None, None, None]
