"""Clerks: each opens a session for one order, and declares its end when its work is done, or calls it all off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import cast

from opspawn.contracts.events import Event
from opspawn.contracts.lifecycle import RegisteredAgent, Session
from opspawn.contracts.store import Store
from opspawn.errors import InvalidTransition, StoreError
from opspawn.ops.agents.agents import Agents
from opspawn.ops.engine.engine import Engine
from opspawn.ops.sessions.sessions import Sessions
from opspawn.testing.simulation.process import Process

AGENT = "clerk"
_LOOK_S = 4.0


class Clerk:
    """One of them. `files` are all sessions, with the ends that were declared."""

    def __init__(self, process: Process, engine: Engine, files: dict[str, str]) -> None:
        store = cast(Store, process)
        self._agents = Agents(store, own=(AGENT,), clock=process)
        self._sessions = Sessions(store, self._agents, engine.cancel, clock=process)
        self._files = files

    async def open(self, key: str) -> str:
        """Open a session, once for a key, whatever answers are lost."""
        while True:
            try:
                await self._agents.announce([RegisteredAgent(AGENT, AGENT, local=True)])
                session = await self._sessions.start_session(AGENT, idempotency_key=key)
            except StoreError:
                await asyncio.sleep(1.0)
            else:
                self._files[session.id] = "open"
                return session.id

    async def close(self, session: str, end: str) -> None:
        """Declare its end, as soon as that is legal: "completed" once its tasks have ended, "cancelled" at any time."""
        while True:
            try:
                await self._sessions.update_session(AGENT, session, {"status": end})
            except (StoreError, InvalidTransition):
                await asyncio.sleep(_LOOK_S)
            else:
                self._files[session] = end
                return

    async def read(self) -> list[Session]:
        """All that were opened."""
        return [await self._sessions.get(id) for id in self._files]


def check_sessions(files: dict[str, str], sessions: Sequence[Session], events: Sequence[Event]) -> Iterator[str]:
    """Each began once, and stands as somebody declared it."""
    begun = [event.session for event in events if event.type == "session.started"]
    for session in sessions:
        if (times := begun.count(session.id)) != 1:
            yield f"the session {session.id} began {times} times"
        if str(session.state) != files[session.id]:
            yield f"the session {session.id} is {session.state}, and {files[session.id]} was declared"
