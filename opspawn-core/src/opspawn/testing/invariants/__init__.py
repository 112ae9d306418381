"""`assert_invariants`: whether a store holds what Opspawn promises, seen from its events and records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Query, Store, Task
from opspawn.testing.invariants.checks import RULES, find_violations
from opspawn.testing.invariants.violation import InvariantsBroken, Violation

__all__ = ["RULES", "InvariantsBroken", "Violation", "assert_invariants", "find_violations", "read_everything"]


async def assert_invariants(
    store: Store, *, accepted: Iterable[str] = (), drained: bool = False, lease_s: float | None = None
) -> None:
    """Return if everything in a store is as promised (see `RULES`); the store may be in use meanwhile.

    Args:
        accepted: ids of tasks that callers were given: none may be missing.
        drained: nothing works any more and nothing is left to do, so every task must have ended or wait for a human.
        lease_s: the length of all leases, in seconds, if none was ended early.

    Raises: InvariantsBroken: an AssertionError with a sentence for each violation.
    """
    tasks, events = await read_everything(store)
    if found := find_violations(tasks, events, accepted=accepted, drained=drained, lease_s=lease_s):
        raise InvariantsBroken(found)


async def read_everything(store: Store) -> tuple[list[Task], list[Event]]:
    """All tasks, newest first, and then all events, oldest first."""
    page = await store.find_tasks(Query(limit=200))
    tasks = list(page.items)
    while page.cursor is not None:
        page = await store.find_tasks(Query(limit=200, cursor=page.cursor))
        tasks += page.items
    events: list[Event] = []
    while more := await store.events(EventQuery(position=events[-1].position if events else 0, limit=1000)):
        events += [await _whole(store, event) for event in more]
    return tasks, events


async def _whole(store: Store, event: Event) -> Event:
    """An event with its data, where a page shows a stand-in for a large one."""
    digest = event.data.get("$payload")
    return event if digest is None else replace(event, data=await store.payload(digest))
