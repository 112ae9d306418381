"""Ends paused tasks at their deadline. Nobody claims a paused task and would notice, so processes with a worker look.

The deadline counts by the store's clock, and this process's own may be wrong by hours. So whoever finds a paused task
that has a deadline takes a turn, a commit which tells the store's time.
"""

from __future__ import annotations

import asyncio
import random

from loguru import logger

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Batch, Query, Store, Task, TaskState
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, StoreError
from opspawn.ops import transitions
from opspawn.ops.turns import Turn

#: How often a process looks, in seconds, and how many paused tasks it looks at in one go.
EVERY_S = 5.0
_MOST = 1000
TURN = "deadlines"


async def keep_deadlines(store: Store, waker: Waker, owner: str, clock: Clock, *, every_s: float = EVERY_S) -> None:
    """Endless; not in virtual time. Failures are logged, and the next look comes."""
    turn = Turn(store, TURN, owner, for_s=3 * every_s, clock=clock)
    cursor: str | None = None
    while not clock.virtual:
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))
        try:
            ended, cursor = await end_overdue(store, turn, cursor)
        except StoreError as error:  # whoever claims reports it
            logger.bind(error_type=error.error_type).debug("Paused tasks could not be looked at: {}", error)
            continue
        for queue in {task.queue for task in ended}:
            waker.ring(queue)


async def end_overdue(store: Store, turn: Turn, cursor: str | None = None) -> tuple[list[Task], str | None]:
    """Hand the paused tasks whose deadline has passed to claimers, which end them; and where to look on.

    Raises: StoreError.
    """
    dated: list[Task] = []
    for _ in range(_MOST // 200):
        page = await store.find_tasks(Query(where={"state": str(TaskState.PAUSED)}, limit=200, cursor=cursor))
        dated += [task for task in page.items if task.deadline is not None]
        if (cursor := page.cursor) is None:
            break
    if not dated or not await turn.take() or (now := await turn.taken()) is None:
        return [], cursor
    ended = []
    for task in dated:
        if task.deadline is not None and task.deadline <= now:
            try:
                await store.commit(Batch(transitions.overdue(task)))
            except Conflict:  # somebody resumed or cancelled it
                continue
            ended.append(task)
    return ended, cursor
