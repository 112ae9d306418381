"""Gathering: adds that are called while others are under way go together, to the embedder and to the writer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.memory import Added, Duplicates, MemoryItem
from opspawn_memory_lancedb.plan import Add
from opspawn_memory_lancedb.vectors import Vectors
from opspawn_memory_lancedb.writing import Asked, Writer

#: How many groups are under way at once: one that is written, and others with the embedder.
_AT_ONCE = 4
_MOST = 4000
#: Seconds after which rows that wait alone go into the table.
_IDLE_S = 0.5

Embed = Callable[[list[str]], Awaitable[Vectors | None]]


@dataclass(slots=True, eq=False)
class _Wanted:
    items: Sequence[MemoryItem]
    duplicates: Duplicates
    done: asyncio.Future[list[Added]]


class Gatherer:
    """Takes adds on the event loop, and gives them to the writer in groups."""

    def __init__(
        self,
        writer: Writer,
        vectors: Embed,
        model: Callable[[], str | None],
        now: Callable[[], int],
        idle: Callable[[], None],
    ) -> None:
        """`idle` is called when all is in the table, and nothing has come for a moment."""
        self._writer = writer
        self._vectors = vectors
        self._model = model
        self._now = now
        self._idle = idle
        self._waiting: deque[_Wanted] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def add(self, items: Sequence[MemoryItem], duplicates: Duplicates) -> list[Added]:
        """Keep items. Whoever no longer waits does not take them back."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Added]] = loop.create_future()
        done.add_done_callback(_looked_at)
        self._waiting.append(_Wanted(items, duplicates, done))
        self._rest()
        if len(self._flights) < _AT_ONCE:
            flight = loop.create_task(self._fly())
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
        return await done

    async def aclose(self) -> None:
        """Finish what is under way."""
        while self._flights:
            await asyncio.wait(self._flights)
        self._rest()

    async def _fly(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft()]
            count = len(group[0].items)
            while self._waiting and count < _MOST and self._waiting[0].duplicates == group[0].duplicates:
                group.append(self._waiting.popleft())
                count += len(group[-1].items)
            try:
                await self._keep(group)
            finally:
                for one in group:
                    one.done.cancel()  # but for those that are done
        self._rest()
        self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._settle)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _settle(self) -> None:
        self._timer = None
        self._writer.rest(self._idle).add_done_callback(_looked_at)

    async def _keep(self, group: Sequence[_Wanted]) -> None:
        items = group[0].items if len(group) == 1 else [item for one in group for item in one.items]
        try:
            vectors = await self._vectors([item.text for item in items])
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
            else:  # the fault of one is not that of the others
                await asyncio.gather(*(self._keep([one]) for one in group))
            return
        done: Future[list[Added]] = Future()
        self._writer.put(Asked(Add(items, vectors, self._model(), group[0].duplicates, self._now()), done))
        try:
            added = await asyncio.wrap_future(done)
        except Exception as error:
            _fail(group, error)
            return
        start = 0
        for one in group:
            end = start + len(one.items)
            if not one.done.done():
                one.done.set_result(added[start:end])
            start = end


def _fail(group: Sequence[_Wanted], error: Exception) -> None:
    for one in group:
        if not one.done.done():
            one.done.set_exception(error)


def _looked_at(done: Any) -> None:
    """Have asyncio not complain of an error that nobody waits for any more."""
    if not done.cancelled():
        done.exception()
