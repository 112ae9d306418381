"""The world outside: what the steps of programs do to it, remembered by the names of the steps."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import Protocol

from opspawn.errors import ToolError


class Body(Protocol):
    """The process in which a step runs: it may be frozen, and it may die."""

    async def live(self, seconds: float) -> None:
        """Let time pass. Returns only while the process is not frozen."""
        ...


class Outside:
    """Which effects began, and which happened, and how often; `wanted` are the signals for which runs wait, with the
    tasks that they are for."""

    def __init__(self) -> None:
        self.wanted: dict[str, str] = {}
        self.began: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()


#: What the code of a worker's tasks lives in: set where the worker starts, and so inherited by all that it runs.
body: ContextVar[Body] = ContextVar("body")
outside: ContextVar[Outside] = ContextVar("outside")


async def act(key: str, before_s: float, after_s: float) -> str:
    """An effect: it happens in one moment, and its reply takes a while."""
    world, process = outside.get(), body.get()
    world.began[key] += 1
    await process.live(before_s)
    world.happened[key] += 1
    await process.live(after_s)
    return f"{key} done"


async def stumble(key: str, failures: int) -> str:
    """An effect that fails some times before it works."""
    world = outside.get()
    world.began[key] += 1
    if world.began[key] <= failures:
        raise ToolError(f"{key} stumbles")
    return f"{key} done"
