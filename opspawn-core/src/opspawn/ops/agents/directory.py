"""Who else there is: remote agents and stored workflows, known to this process as soon as they are registered.

A worker claims by handler, so it must know the handlers that came after its start. The directory reads them once, then
follows the events that tell of new ones; when these cannot be followed for a while, it reads all again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress

from loguru import logger

from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.lifecycle import RegisteredAgent
from opspawn.contracts.store import Query, Store
from opspawn.errors import NotFound, StoreError
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.records import KIND, Kept
from opspawn.ops.definitions import KIND as DEFINITION

#: How long until a store that failed is asked again, in seconds.
AGAIN_S = 1.0


class Directory:
    """What was registered. `changed` is called, in the event loop, after anything new is known."""

    def __init__(self, store: Store, agents: Agents, changed: Callable[[], None] = lambda: None) -> None:
        self.remote: dict[str, RegisteredAgent] = {}
        self.workflows: set[str] = set()
        self._store = store
        self._agents = agents
        self._changed = changed
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read what there is, and follow what comes. Raises: StoreError."""
        tail = self._store.tail(types=_FOLLOWED)  # from before the first look
        await self._read()
        self._following = asyncio.create_task(self._follow(tail), name="opspawn-directory")

    async def aclose(self) -> None:
        """Stop following. Idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def meet(self, id: str) -> RegisteredAgent:
        """A remote agent, from the store if it is not known yet. Raises: NotFound."""
        if id not in self.remote:
            await self._read_agent(id)
        if id not in self.remote:
            raise NotFound("remote agent", id, remedy="See 'opspawn agents list'.")
        return self.remote[id]

    async def learn(self, words: Iterable[str]) -> None:
        """Know who was registered before this call, if any of the words means nobody yet."""
        if all(self.able(word) for word in words):
            return
        for id in await self._registered():
            if id not in self.remote:
                await self._read_agent(id)

    def able(self, word: str) -> list[RegisteredAgent]:
        """The remote agents that a word means: the one with that id, or those with that capability."""
        if word in self.remote:
            return [self.remote[word]]
        return [agent for agent in self.remote.values() if word in agent.capabilities]

    def words(self) -> set[str]:
        """All words that mean remote agents."""
        return {word for agent in self.remote.values() for word in (agent.id, *agent.capabilities)}

    async def _registered(self) -> dict[str, RegisteredAgent]:
        found: dict[str, RegisteredAgent] = {}
        cursor: str | None = None
        while True:
            page = await self._store.find(KIND, Query(where={"local": "no"}, limit=200, cursor=cursor))
            found |= {record.id: Kept.of(record).agent for record in page.items}
            if (cursor := page.cursor) is None:
                return found

    async def _read(self) -> None:
        self.remote = await self._registered()
        cursor: str | None = None
        while True:
            stored = await self._store.find(DEFINITION, Query(limit=200, cursor=cursor))
            self.workflows |= {record.id for record in stored.items}
            if (cursor := stored.cursor) is None:
                break
        self._changed()

    async def _read_agent(self, id: str) -> None:
        self._agents.forget(id)
        try:
            agent = await self._agents.get(id)
        except NotFound:
            self.remote.pop(id, None)
            return
        if not agent.local:
            self.remote[id] = agent
            self._changed()

    async def _follow(self, tail: AsyncIterator[Event | TaskDelta]) -> None:
        while True:
            try:
                async for event in tail:
                    if isinstance(event, Event) and event.agent is not None and event.type in _TOLD:
                        await self._read_agent(event.agent)
                    elif isinstance(event, Event) and event.type == "workflow.created":
                        self.workflows.add(str(event.data["workflow"]))
                        self._changed()
                return
            except StoreError as error:
                logger.bind(error_type=error.error_type).warning("Registrations cannot be followed: {}", error)
            while True:
                await asyncio.sleep(AGAIN_S)
                with suppress(StoreError):
                    tail = self._store.tail(types=_FOLLOWED)
                    await self._read()
                    break


_TOLD = ("agent.registered", "agent.deregistered")
_FOLLOWED = (*_TOLD, "workflow.created")
