"""Things that belong to an event loop, and are closed when that loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary


class Closes(Protocol):
    async def aclose(self) -> None: ...


T = TypeVar("T", bound=Closes)


class PerLoop(Generic[T]):
    """One thing per event loop, made when it is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]] = (
            WeakKeyDictionary()
        )

    async def get(self) -> T:
        """The thing of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            thing = self._make()
            keeper = self._keep(loop, thing)
            self._made[loop] = thing, keeper
            await anext(keeper)
        return self._made[loop][0]

    async def _keep(self, loop: asyncio.AbstractEventLoop, thing: T) -> AsyncGenerator[None, None]:
        """Close the thing when the loop ends: a loop that shuts down closes every generator which it once began."""
        try:
            yield
        finally:
            self._made.pop(loop, None)
            await thing.aclose()
