"""What happens in a durable run, as it happens: from its journal and those of its children, and then live."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from opspawn.agentkit.telling import Teller
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.run_events import END, RunEvent
from opspawn.contracts.store import EventQuery, Store, Task
from opspawn.errors import InvalidInput, NotFound

#: Follows all events after a position.
Tail = Callable[[int], AsyncGenerator[Event | TaskDelta, None]]

_ID = re.compile(r"(\d{1,19})(?:\.(\d{1,9}))?")
_PAGE = 1000


def place_of(id: str) -> tuple[int, int]:
    """The place of an event in its stream, from its id. Raises: InvalidInput: it is none."""
    found = _ID.fullmatch(id)
    if found is None or int(found[1]) >= 2**63:
        raise InvalidInput(
            f"{id!r} is no id of an event.", remedy="Give the id of the last event that you saw, such as '17.0'."
        )
    return int(found[1]), int(found[2] or _PAGE)


async def stream_of(
    store: Store, tail: Tail, begin: Callable[[], Awaitable[Task]], after: str | None = None, *, new: bool = False
) -> AsyncIterator[RunEvent]:
    """The events of a task and of those within it, from the begin or after an id, until it has ended.

    `begin` finds the task, once the store is followed; `new`: it makes it, so that nothing of it is told before.

    Raises: InvalidInput: `after` is no id. StoreError. What `begin` raises.
    """
    seen = (-1, 0) if after is None else place_of(after)
    newest = await store.events(EventQuery(newest=True, limit=1))
    items = tail(newest[-1].position if newest else 0)
    # Follows from now on, so that what streams while the journal is read is not missed.
    item = asyncio.ensure_future(anext(items))
    try:
        task = await begin()
        run, last = _Stream(store, task), 0
        while page := [] if new else await store.events(EventQuery(root=task.root, position=last, limit=_PAGE)):
            last = page[-1].position
            for event in page:
                for told in await run.told(event):
                    if _place(told) > seen:
                        yield told
                    if isinstance(told, END):
                        return
        while True:
            try:
                came = await item
            except StopAsyncIteration:
                return
            item = asyncio.ensure_future(anext(items))
            if isinstance(came, TaskDelta) or came.position > last:
                for told in await run.told(came):
                    if told.id is None or _place(told) > seen:
                        yield told
                    if isinstance(told, END):
                        return
    finally:
        item.cancel()
        await asyncio.gather(item, return_exceptions=True)
        await items.aclose()


class _Stream:
    """One tree of tasks, told."""

    def __init__(self, store: Store, task: Task) -> None:
        self._store = store
        self._task = task
        self._teller = Teller(task.id)

    async def told(self, event: Event | TaskDelta) -> list[RunEvent]:
        """What a line tells, with ids, or a piece of a stream; nothing where it is of another tree."""
        if isinstance(event, TaskDelta):
            piece = self._teller.delta(event.data, run=event.task, agent=self._task.agent)
            return [] if piece is None else [piece]
        if event.task is None or event.task not in self._teller.runs:
            return []
        data = await self._whole(event)
        told = self._teller.line(event.type, data, run=event.task, agent=event.agent, time=event.time)
        return [replace(one, id=f"{event.position}.{n}") for n, one in enumerate(told)]

    async def _whole(self, event: Event) -> dict[str, Any]:
        data = event.data
        if data.keys() == {"$payload", "bytes"}:
            with suppress(NotFound):
                data = await self._store.payload(data["$payload"])
        if event.task != self._task.id:
            return data
        if event.type == "task.accepted":
            return {**data, "session": event.session}
        if event.type == "task.succeeded":
            task = await self._store.get_task(self._task.id)
            return {**data, "result": None if task is None else task.result}
        return data


def _place(event: RunEvent) -> tuple[int, int]:
    assert event.id is not None, "what is journaled has a place"
    return place_of(event.id)
