"""Tasks that nobody takes: due for a while, in a queue that a worker serves, but of a handler that it does not have.

Another worker may have it, so such a task does not fail; but somebody should hear of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from loguru import logger

from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Query, Store, Task, TaskState
from opspawn.errors import StoreError

#: How often a worker looks, and how long a task must have been due to be told of, in seconds.
LOOK_S = 60.0
WAITED_S = 30.0


async def tell_unserved(
    store: Store, queues: Sequence[str], handlers: Collection[str], clock: Clock, look_s: float = LOOK_S
) -> None:
    """Log a warning for each handler that is asked for in vain, once. Endless; not in virtual time."""
    told: set[str] = set()
    while not clock.virtual:
        await asyncio.sleep(look_s)
        try:
            found = await unserved(store, queues, handlers)
        except StoreError:
            continue  # whoever claims reports it
        for handler, task in found.items():
            if handler not in told:
                told.add(handler)
                logger.bind(task=task.id, error_type="unserved").warning(
                    "Task {} waits for a worker that has {}: this one does not. Start one whose app has it, or cancel "
                    "the task.",
                    task.id,
                    handler,
                )


async def unserved(store: Store, queues: Sequence[str], handlers: Collection[str]) -> dict[str, Task]:
    """By handler: a task that was due for a while and that none of `handlers` is for. Raises: StoreError."""
    found: dict[str, Task] = {}
    for queue in queues:
        page = await store.find_tasks(Query(where={"queue": queue, "state": str(TaskState.QUEUED)}, limit=200))
        for task in page.items:
            if task.handler not in handlers and waits_long(task):
                found.setdefault(task.handler, task)
    return found


def waits_long(task: Task) -> bool:
    """Whether a queued task has been due for so long that no worker seems to serve it."""
    if task.state is not TaskState.QUEUED or task.due is None:
        return False
    return datetime.now(UTC) - task.due > timedelta(seconds=WAITED_S)
