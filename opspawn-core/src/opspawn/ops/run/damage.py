"""A task whose own rows cannot be read: it cannot run, and must not stand in the way of the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loguru import logger

from opspawn.contracts.events import Event
from opspawn.contracts.store import Batch, Store, Task
from opspawn.contracts.unreadable import Unreadable, first_unreadable
from opspawn.ops import transitions
from opspawn.ops.children import cancel_descendants


class Damaged(Exception):
    """What of the task cannot be read, and why."""


def check_task(task: Task) -> None:
    """Return if what a run needs of its task was read. Raises: Damaged."""
    for name in ("input", "retry"):
        value = getattr(task, name)
        if type(value) is Unreadable:
            raise Damaged(f"Its {name} cannot be read from the store: {value.why}")


def check_events(events: Iterable[Event]) -> None:
    """Return if the journal was read: what it holds may not be done again. Raises: Damaged."""
    found = first_unreadable(events)
    if found is not None:
        why = getattr(found.data, "why", "")
        raise Damaged(f"The event {found.type} at {found.position} of its journal cannot be read: {why}")


async def fail(store: Store, task: Task, damaged: Damaged) -> None:
    """End the claimed task as failed, and what is under it. Raises: StoreError."""
    error: dict[str, Any] = {"type": "unreadable", "message": f"{damaged}."}
    logger.bind(task=task.id, agent=task.agent, error_type="unreadable").error(
        "The task {} cannot be run. {}", task.id, damaged
    )
    await cancel_descendants(store, task.id)
    await store.commit(Batch(transitions.fail(task, error, task.attempt + 1)))
