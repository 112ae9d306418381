"""Ends tasks at their deadline that no claim serves: paused ones, and those of agents that get no work. Nobody would
notice otherwise, so processes with a worker look.

The deadline counts by the store's clock, and this process's own may be wrong by hours. So whoever finds such a task
that has a deadline takes a turn, a commit which tells the store's time.
"""

from __future__ import annotations

import asyncio
import random

from opspawn import details
from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Batch, Query, Store, Task, TaskState
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, StoreError
from opspawn.ops import transitions
from opspawn.ops.agents.records import KIND, Kept, handler_of
from opspawn.ops.turns import Turn

#: How often a process looks, in seconds, and how many tasks of a sort it looks at in one go.
EVERY_S = 5.0
_MOST = 1000
_PAGE = 200
TURN = "deadlines"


async def keep_deadlines(store: Store, waker: Waker, owner: str, clock: Clock, *, every_s: float = EVERY_S) -> None:
    """Endless; not in virtual time. Failures are logged, and the next look comes."""
    overdue = Overdue(store, Turn(store, TURN, owner, for_s=3 * every_s, clock=clock))
    while not clock.virtual:
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))
        try:
            ended = await overdue.end()
        except StoreError as error:  # whoever claims reports it
            details.debug("Tasks that stand still could not be looked at: {}", error, error_type=error.error_type)
            continue
        for queue in {task.queue for task in ended}:
            waker.ring(queue)


class Overdue:
    """Looks through the tasks that no claim serves, the next of them with each look where there are many."""

    def __init__(self, store: Store, turn: Turn) -> None:
        self._store = store
        self._turn = turn
        self._cursors: dict[tuple[str, ...], str] = {}

    async def end(self) -> list[Task]:
        """Hand those whose deadline has passed to claimers, which end them. Raises: StoreError."""
        dated = await self._dated(state=str(TaskState.PAUSED))
        for handler in await self._closed():
            for state in (TaskState.QUEUED, TaskState.WAITING):
                dated += await self._dated(state=str(state), handler=handler)
        if not dated or not await self._turn.take() or (now := await self._turn.taken()) is None:
            return []
        ended = []
        for task in dated:
            if task.deadline is not None and task.deadline <= now:
                try:
                    await self._store.commit(Batch(transitions.overdue(task)))
                except Conflict:  # somebody resumed or cancelled it
                    continue
                ended.append(task)
        return ended

    async def _dated(self, **where: str) -> list[Task]:
        """The next tasks like that, as far as they have a deadline."""
        dated: list[Task] = []
        key = tuple(where.values())
        cursor = self._cursors.pop(key, None)
        for _ in range(_MOST // _PAGE):
            page = await self._store.find_tasks(Query(where=where, limit=_PAGE, cursor=cursor))
            dated += [task for task in page.items if task.deadline is not None]
            if (cursor := page.cursor) is None:
                return dated
        if cursor is not None:
            self._cursors[key] = cursor
        return dated

    async def _closed(self) -> list[str]:
        """The handlers of agents that get no work."""
        closed: list[str] = []
        cursor: str | None = None
        while True:
            page = await self._store.find(KIND, Query(limit=_PAGE, cursor=cursor))
            closed += [handler_of(kept.agent) for kept in map(Kept.of, page.items) if not kept.served]
            if (cursor := page.cursor) is None:
                return closed
