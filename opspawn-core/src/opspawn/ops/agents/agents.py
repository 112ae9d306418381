"""The registry of agents and their state machine.

What an agent reports moves along a strict table (`ops.states`). Two things are not reports:

* A **pause** is somebody's decision about an agent. It lies over the reported state: an agent that ends its work and
  reports `idle` does not lift it, `resume` does. Meanwhile reports are taken as ever, and `resume` shows the last one.
* The `idle` and `active` of a **local** agent follow from the leases of its tasks and are never written, so that no
  crash leaves them wrong. Its `error` is written, and lifted by `idle` or `resume`.

A state that gets no work closes the agent's lane in the commit that writes it, so no worker has to look it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, NewEvent
from opspawn.contracts.lifecycle import AgentState, AgentStatus, RegisteredAgent
from opspawn.contracts.store import (
    Append,
    Batch,
    Delete,
    EventQuery,
    Operation,
    Page,
    Query,
    SetLane,
    Store,
    TaskState,
)
from opspawn.errors import AppError, Conflict, InvalidInput, InvalidTransition, NotFound
from opspawn.ops.agents import moves
from opspawn.ops.agents.records import KIND, Kept, checked, handler_of
from opspawn.ops.states import agent_state, moment, plain_object

HISTORY = ("agent.registered", "agent.state", "agent.deregistered")
#: A message names the known agents only if they are no more than this.
_SHOWN = 20
_RACES = 10
#: How long `endpoint_of` may answer from what it knew, in seconds.
CACHE_S = 5.0
_MAX_CACHED = 10_000

#: What a change of a record makes of it, with the operations that go along; None for nothing to do.
Change = Callable[[Kept], tuple[Kept, Sequence[Operation]] | None]


class Agents:
    """See `opspawn.contracts.lifecycle.AgentRegistry`. `own` are the names of the agents of this process's app."""

    def __init__(
        self, store: Store, *, own: Collection[str] = (), clock: Clock = SYSTEM_CLOCK, cache_s: float = CACHE_S
    ) -> None:
        self._store = store
        self._own = frozenset(own)
        self._clock = clock
        self._cache_s = cache_s
        self._cache: dict[str, tuple[float, RegisteredAgent]] = {}

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)

    # -- who there is --------------------------------------------------------------------------------------------------

    async def register(
        self,
        id: str | None = None,
        *,
        name: str,
        version: str = "",
        capabilities: Sequence[str] = (),
        contact_endpoint: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        concurrency: int = 1,
        also: Sequence[Operation] = (),
    ) -> RegisteredAgent:
        """As the contract says; `also` is committed along."""
        agent = checked(
            RegisteredAgent(
                id if id is not None else f"a-{uuid4().hex[:24]}",
                name,
                False,
                version,
                tuple(capabilities),
                contact_endpoint,
                metadata or {},
                concurrency,
            )
        )
        if agent.id in self._own:
            raise InvalidInput(f"{agent.id!r} is an agent of the app.", remedy="Register it under another agentId.")
        return await self._keep(agent, also)

    async def announce(self, agents: Sequence[RegisteredAgent]) -> None:
        """Register the agents of an app; what is registered alike already costs one read.

        Raises: AppError: a remote agent has the name of one of them.
        """
        known = await asyncio.gather(*(self._store.get(KIND, agent.id) for agent in agents))
        for agent, record in zip(agents, known, strict=True):
            before = Kept.of(record) if record is not None else None
            if before is not None and not before.agent.local:
                raise AppError(
                    f"The agent {agent.id!r} of the app has the id of a remote agent.",
                    remedy=f"Rename it, or: opspawn agents deregister {agent.id}.",
                )
            if before is None or before.agent != replace(agent, registered=before.agent.registered):
                await self._keep(agent)

    async def _keep(self, agent: RegisteredAgent, also: Sequence[Operation] = ()) -> RegisteredAgent:
        for _ in range(_RACES):
            record = await self._store.get(KIND, agent.id)
            before = Kept.of(record) if record is not None else None
            if before is not None and before.agent.local != agent.local:
                raise InvalidInput(f"{agent.id!r} is an agent of an app.", remedy="Choose another agentId.")
            if before is None:
                state = AgentState.IDLE if agent.local else AgentState.UNKNOWN
                kept = Kept(replace(agent, registered=self._time()), state)
            else:
                kept = before.registered_again(agent)
            data = {
                "name": agent.name,
                "version": agent.version,
                "capabilities": list(agent.capabilities),
                "contactEndpoint": agent.contact_endpoint,
                "again": before is not None,
                "state": str(kept.shown),
            }
            operations = [*moves.written(kept, NewEvent("agent.registered", data)), *also]
            with suppress(Conflict):
                await self._store.commit(Batch(operations))
                self._cache.pop(agent.id, None)
                return kept.agent
        raise Conflict(f"The agent {agent.id!r} is registered by others at the same time; try again.")

    async def deregister(self, id: str, also: Sequence[Operation] = ()) -> None:
        """As the contract says; `also` is committed along."""
        if id in self._own:
            raise InvalidTransition(f"{id!r} is an agent of the app.", remedy="Take it out of the app, or pause it.")
        for _ in range(_RACES):
            kept = await self._kept(id)
            gone = NewEvent("agent.deregistered", {"state": str(kept.shown)})
            operations: list[Operation] = [
                Delete(KIND, id, kept.version),
                Append(None, gone, agent=id),
                SetLane(handler_of(kept.agent), open=kept.agent.local),
                *also,
            ]
            with suppress(Conflict):
                await self._store.commit(Batch(operations))
                self._cache.pop(id, None)
                return
        raise Conflict(f"The agent {id!r} changes too fast; try again.")

    async def get(self, id: str) -> RegisteredAgent:
        return (await self._kept(id)).agent

    async def endpoint_of(self, id: str) -> RegisteredAgent:
        """The agent as it was registered at most `CACHE_S` ago: for the way of each task to it. Raises: NotFound."""
        known = self._cache.get(id)
        if known is not None and self._clock.monotonic() - known[0] < self._cache_s:
            return known[1]
        agent = await self.get(id)
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[id] = (self._clock.monotonic(), agent)
        return agent

    def forget(self, id: str) -> None:
        """Read the agent anew when it is next asked for: what was known of it does not hold."""
        self._cache.pop(id, None)

    async def find(
        self,
        *,
        state: AgentState | None = None,
        capability: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[tuple[RegisteredAgent, AgentStatus]]:
        wanted = None if state is None else agent_state(state)
        page = await self._store.find(KIND, Query(limit=limit, cursor=cursor))
        kept = [Kept.of(record) for record in page.items]
        shown = await asyncio.gather(*(self._status(one) for one in kept))
        found = [
            (one.agent, status)
            for one, status in zip(kept, shown, strict=True)
            if (wanted is None or status.state is wanted)
            and (capability is None or capability in one.agent.capabilities)
        ]
        return Page(found, page.cursor)

    async def history(self, agent_id: str, *, limit: int = 200, position: int = 0) -> Sequence[Event]:
        query = EventQuery(agent=agent_id, types=HISTORY, limit=limit, position=position)
        events = await self._store.events(query)
        if not events and position == 0:
            await self._kept(agent_id)
        return events

    # -- states --------------------------------------------------------------------------------------------------------

    async def get_state(self, agent_id: str) -> AgentStatus:
        return await self._status(await self._kept(agent_id))

    async def set_state(
        self,
        agent_id: str,
        new_state: str,
        details: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
    ) -> AgentStatus:
        after = agent_state(new_state)
        now = self._time()
        said = None if details is None else plain_object("details", details)
        dated = moment(timestamp, now=now)
        if after is AgentState.PAUSED:
            return await self._change(agent_id, lambda kept: moves.paused(kept, said, dated or now))
        late = False

        def report(kept: Kept) -> tuple[Kept, Sequence[Operation]] | None:
            nonlocal late
            # Reports without a date come in the order in which they arrive, whatever the clocks of the servers say.
            when = dated or max(now, kept.timestamp or now)
            late = kept.timestamp is not None and when < kept.timestamp
            if late:
                return kept, [moves.told(kept, after, said, when, late=True)]
            move = moves.local if kept.agent.local else moves.remote
            return move(kept, after, said, when)

        status = await self._change(agent_id, report)
        return replace(status, late=late)

    async def resume(self, agent_id: str) -> AgentStatus:
        return await self._change(agent_id, lambda kept: moves.lifted(kept, self._time()))

    # -- the record ----------------------------------------------------------------------------------------------------

    async def _kept(self, id: str) -> Kept:
        record = await self._store.get(KIND, id)
        if record is None:
            some = await self._store.find(KIND, Query(limit=_SHOWN))
            known = [] if some.cursor is not None else [one.id for one in some.items]
            raise NotFound("agent", id, known=known, remedy=None if known else "See 'opspawn agents list'.")
        return Kept.of(record)

    async def _change(self, id: str, change: Change) -> AgentStatus:
        """Read, change, commit; again when somebody else was faster."""
        for _ in range(_RACES):
            kept = await self._kept(id)
            changed = change(kept)
            if changed is None:
                return await self._status(kept)
            with suppress(Conflict):
                await self._store.commit(Batch(changed[1]))
                return await self._status(changed[0])
        raise Conflict(f"The agent {id!r} changes too fast; try again.")

    async def _status(self, kept: Kept) -> AgentStatus:
        id = kept.agent.id
        if kept.paused is not None:
            return AgentStatus(id, AgentState.PAUSED, kept.pause_details, kept.paused)
        if not kept.agent.local or kept.state is AgentState.ERROR:
            return AgentStatus(id, kept.state, kept.details, kept.timestamp or kept.agent.registered)
        where = {"handler": handler_of(kept.agent), "state": str(TaskState.RUNNING)}
        running = await self._store.find_tasks(Query(where=where, limit=200))
        now = self._time()
        # The lease of a worker that died ran out; until another takes the task, nobody works on it.
        live = any(task.due is not None and task.due > now for task in running.items)
        return AgentStatus(id, AgentState.ACTIVE if live else AgentState.IDLE, None, now)
