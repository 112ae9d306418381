"""The promises of a store by chapter, and the few words in which they are written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import (
    Append,
    Batch,
    Claim,
    Lease,
    Operation,
    Put,
    Receipt,
    Record,
    Store,
    Task,
    TaskState,
    Wake,
)

LONG = 60.0  # seconds; a lease that does not end within a test


def a_task(id: str = "t1", **fields: Any) -> Task:
    """A task of a lane that most promises use, being its own root."""
    return Task(**{"id": id, "handler": "function/work", "root": id, **fields})


async def commit(store: Store, *operations: Operation) -> Receipt:
    """Commit operations as one batch."""
    return await store.commit(Batch(operations))


async def create(store: Store, task: Task | str = "t1", **put: Any) -> Task:
    """Create a task and return it as the store has it."""
    task = a_task(task) if isinstance(task, str) else task
    await commit(store, Put(task, expect=0, **put))
    return await the_task(store, task.id)


async def the_task(store: Store, id: str = "t1") -> Task:
    """The task, which must exist."""
    task = await store.get_task(id)
    assert task is not None
    return task


async def the_record(store: Store, kind: str = "k", id: str = "i") -> Record:
    """The record, which must exist, without the store's times."""
    record = await store.get(kind, id)
    assert record is not None
    assert record.created is not None
    assert record.updated is not None
    return replace(record, created=None, updated=None)


async def claim(
    store: Store, worker: str = "w1", *, slots: int = 10, lease_s: float = LONG, **lanes: Any
) -> list[Lease]:
    """Claim from the usual lane, or those given."""
    queues, handlers = lanes.get("queues", ("default",)), lanes.get("handlers", ("function/work",))
    return await store.claim(
        Claim(worker, queues, handlers, slots, lease_s, ending_only=lanes.get("ending_only", False))
    )


async def claim_soon(store: Store, worker: str = "w1", **claiming: Any) -> Lease:
    """Claim again and again until a task is there."""
    async with asyncio.timeout(20):
        # A store tells nobody when something falls due.
        while not (leases := await claim(store, worker, slots=1, **claiming)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return leases[0]


async def created_and_claimed(store: Store, id: str = "t1", worker: str = "w1", lease_s: float = LONG) -> Task:
    """A task that a worker holds."""
    await create(store, id)
    (lease,) = await claim(store, worker, lease_s=lease_s)
    return lease.task


async def put(store: Store, task: Task, state: TaskState, *, fenced: bool = True, **put: Any) -> Receipt:
    """Put a task in another state, from its version and, unless told otherwise, under its claim."""
    fields = put.pop("fields", {})
    token = task.token if fenced else None
    return await commit(store, Put(replace(task, state=state, **fields), expect=task.version, token=token, **put))


async def ended(store: Store, id: str = "t1", state: TaskState = TaskState.SUCCEEDED) -> Task:
    """A task that has ended."""
    await put(store, await created_and_claimed(store, id), state)
    return await the_task(store, id)


def ids(leases: list[Lease]) -> list[str]:
    """The tasks of leases, in their order."""
    return [lease.task.id for lease in leases]


def step(data: Mapping[str, Any] | None = None, task: str = "t1", token: int | None = None, **event: Any) -> Append:
    """An append of an event."""
    return Append(task, NewEvent(event.pop("type", "step.done"), dict(data or {}), **event), token)


def wake(task: str = "t1", urgent: bool = False) -> Wake:
    """A wake of the usual task."""
    return Wake(task, urgent)
