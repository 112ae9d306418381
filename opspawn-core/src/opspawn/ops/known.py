"""Whether there is what somebody selects by: a name that nothing has is a mistake to tell of, and no empty answer."""

from __future__ import annotations

from opspawn.contracts.store import EventQuery, Query, Store
from opspawn.errors import NotFound
from opspawn.ops.agents.agents import Agents
from opspawn.ops.presence import workers
from opspawn.ops.sessions.records import KIND as SESSION


async def refuse_unknown_task(store: Store, id: str) -> None:
    """Raises: NotFound: there is no such task."""
    if await store.get_task(id) is None:
        raise NotFound("task", id, remedy="See 'opspawn tasks list'.")


async def refuse_unknown_agent(store: Store, name: str) -> None:
    """Raises: NotFound: nobody is registered so, and no task and no event is of one that is called so."""
    if await _has_tasks(store, "agent", name) or await store.events(EventQuery(agent=name, limit=1)):
        return
    await Agents(store).get(name)


async def refuse_unknown_session(store: Store, id: str) -> None:
    """Raises: NotFound: nothing was written of it, and no task and no event is of it."""
    if await _has_tasks(store, "session", id) or await store.events(EventQuery(session=id, limit=1)):
        return
    if await store.get(SESSION, id) is None:
        raise NotFound("session", id, remedy="See 'opspawn sessions list'.")


async def refuse_unknown_place(store: Store, *, handler: str | None = None, queue: str | None = None) -> None:
    """Raises: NotFound: no task has that handler or queue, and no worker takes it."""
    there = await workers(store)
    handlers = {name for worker in there for name in worker.handlers}
    queues = {name for worker in there for name in worker.queues}
    for what, name, taken in (("handler", handler, handlers), ("queue", queue, queues)):
        if name is not None and name not in taken and not await _has_tasks(store, what, name):
            raise NotFound(what, name, remedy="No task has it, and no worker takes it. See 'opspawn workers'.")


async def _has_tasks(store: Store, field: str, value: str) -> bool:
    return bool((await store.find_tasks(Query(where={field: value}, limit=1))).items)
