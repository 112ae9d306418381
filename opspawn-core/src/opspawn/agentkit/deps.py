"""Dependencies of durable runs: made by a factory in each process, and never recorded."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from opspawn.agentkit.perloop import PerLoop

Factory = Callable[[], Any | Awaitable[Any]]


class Deps:
    """What a factory makes: once for each event loop, when it is first asked for, for all runs there.

    What it makes is closed by its own `aclose`, if it has one, when the event loop ends.
    """

    def __init__(self, factory: Factory) -> None:
        self._held = PerLoop(lambda: _Held(factory))

    async def get(self) -> Any:
        """The dependencies. Raises: whatever the factory raises; it is asked again next time."""
        return await (await self._held.get()).get()


class _Held:
    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._lock = asyncio.Lock()
        self._made: list[Any] = []

    async def get(self) -> Any:
        async with self._lock:
            if not self._made:
                made = self._factory()
                self._made.append(await made if inspect.isawaitable(made) else made)
        return self._made[0]

    async def aclose(self) -> None:
        for one in self._made:
            if inspect.iscoroutinefunction(getattr(one, "aclose", None)):
                await one.aclose()
