"""Sessions: a tracked piece of an agent's work.

What its tasks say is not written into the session but read from them, each time: a claim is made inside the store, so
no record of ours could change in the same commit, and a second truth would drift from the first. Written is what only
people and remote agents know: metadata, a status that somebody declares, a result. Which of the two is shown:

* an end that was declared (`completed`, `error`, `cancelled`) is final;
* a declared `paused` is shown until it is lifted, or the tasks have ended;
* else what the tasks say, if there are any; else what was declared last.

A session about which nobody wrote anything is known by its tasks alone: each task has one.

Whether tasks are left is looked at outside the commit that declares an end. So whoever finds none left marks the
session, and looks once more; and each task is committed along with a look at the session as it was found, or takes the
mark away, whereupon the other looks again. Neither waits for the other, and tasks do not hinder each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from opspawn.agentkit.digests import digest
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import NewEvent
from opspawn.contracts.ids import check_id, check_key
from opspawn.contracts.lifecycle import AgentRegistry, Session, SessionState
from opspawn.contracts.store import Append, Batch, Check, Operation, Page, Put, Query, Record, Store, Task
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidTransition, NotFound
from opspawn.ops.sessions.records import KIND, Kept, checked
from opspawn.ops.sessions.work import Work, unfinished, work_of
from opspawn.ops.states import check_session_move, plain_object, session_state

_MARK = "session-start"
_RACES = 20


class Sessions:
    """See `opspawn.contracts.lifecycle.Sessions`. `cancel` ends a task: a cancelled session leaves none behind."""

    def __init__(
        self,
        store: Store,
        agents: AgentRegistry,
        cancel: Callable[[str], Awaitable[Task]],
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._store = store
        self._agents = agents
        self._cancel = cancel
        self._clock = clock

    async def start_session(
        self,
        agent_id: str,
        workflow_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Session:
        await self._agents.get(agent_id)
        if workflow_id is not None:
            check_id("workflow_id", workflow_id)
        said = plain_object("metadata", metadata or {})
        if idempotency_key is not None:
            check_key("idempotency_key", idempotency_key)
            return await self._start_once(idempotency_key, agent_id, workflow_id, said)
        id = f"s-{uuid4().hex[:24]}"
        await self._store.commit(Batch(opening(id, agent_id, workflow_id, said, self._time())))
        return await self.get(id)

    async def _start_once(self, key: str, agent: str, workflow: str | None, metadata: dict[str, Any]) -> Session:
        """The key is the session's id, so that it can begin once only."""
        id = f"s-{digest(['session', key])[:24]}"
        mark = Put(Record(_MARK, id, {"digest": digest([agent, workflow, metadata])}), expect=0)
        try:
            await self._store.commit(Batch([mark, *opening(id, agent, workflow, metadata, self._time())]))
        except Conflict:
            known = await self._store.get(_MARK, id)
            if known is None or known.data["digest"] != digest([agent, workflow, metadata]):
                raise IdempotencyMismatch(
                    f"The idempotency key {key!r} was used before with another request.",
                    remedy="Send the same request again, or choose a new key.",
                ) from None
        return await self.get(id)

    async def get(self, session_id: str) -> Session:
        kept, work = await self._look(session_id)
        session = kept.shown(work)
        if work is None or work.last is None or session.result is not None or session.error is not None:
            return session
        last = await self._store.get_task(work.last.id)  # a page shows large results by their digest only
        return session if last is None else replace(session, result=last.result, error=last.error)

    async def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        wanted = None if state is None else session_state(state)
        where = {"agent": agent} if agent is not None else {}
        page = await self._store.find(KIND, Query(where=where, limit=limit, cursor=cursor))
        kept = [Kept.of(record) for record in page.items]
        works = await asyncio.gather(*(self._work(one) for one in kept))
        found = [one.shown(work) for one, work in zip(kept, works, strict=True)]
        return Page([one for one in found if wanted is None or one.state is wanted], page.cursor)

    async def admission(self, session_id: str) -> Operation:
        """What a new task of a session is committed along with: a `Conflict` where the session is another by then.

        Raises: InvalidTransition: its end was declared.
        """
        record = await self._store.get(KIND, session_id)
        if record is None:
            return Check(KIND, session_id, 0)
        kept = Kept.of(record)
        if kept.declared.terminal:
            raise InvalidTransition(f"The session {session_id!r} {kept.declared.words}.", remedy="Start a new session.")
        return _unmarked(kept) if kept.closing else Check(KIND, session_id, kept.version)

    async def update_session(
        self, agent_id: str, session_id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Session:
        said = checked(changes)
        check_id("agent_id", agent_id)
        for _ in range(_RACES):
            kept, work = await self._look(session_id, agent_id)
            if version is not None and version != kept.version:
                raise Conflict(f"The session {session_id!r} is at version {kept.version}, no longer at {version}.")
            try:
                await self._check(kept, work, said)
            except InvalidTransition:
                if kept.closing:
                    with suppress(Conflict):
                        await self._store.commit(Batch([_unmarked(kept)]))
                raise
            if _ends(kept, said) and not kept.closing:  # guard: a task that comes meanwhile is noticed
                marked = Put(replace(kept, closing=True).record, expect=kept.version)
                with suppress(Conflict):
                    receipt = await self._store.commit(Batch([marked]))
                    version = None if version is None else receipt.versions[0]
                continue  # and look again
            after = kept.changed(said, self._time())
            if after != kept:
                try:
                    await self._store.commit(Batch(_written(kept, after, said, work)))
                except Conflict:
                    continue
            if after.declared is SessionState.CANCELLED:  # also what a crash after an earlier commit left behind
                await self._end_tasks(session_id)
            return await self.get(session_id)
        raise Conflict(f"The session {session_id!r} changes too fast; try again.")

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._clock.time(), UTC)

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _look(self, id: str, agent: str | None = None) -> tuple[Kept, Work | None]:
        """What is written and what the tasks say; with `agent`, only of a session of that agent. Raises: NotFound."""
        record, work = await asyncio.gather(self._store.get(KIND, id), work_of(self._store, id))
        if record is not None:
            kept = Kept.of(record)
        elif work is not None:
            kept = Kept.unwritten(id, work)
        else:
            raise NotFound("session", id, remedy="See 'opspawn sessions list'.")
        if agent is not None and kept.agent != agent:
            raise NotFound("session", id, remedy=f"At least, it is none of the agent {agent!r}.")
        return kept, work

    async def _work(self, kept: Kept) -> Work | None:
        return None if kept.declared.terminal else await work_of(self._store, kept.id)

    async def _check(self, kept: Kept, work: Work | None, said: Mapping[str, Any]) -> None:
        """Return if the changes are legal. Raises: InvalidTransition."""
        after = said.get("status", kept.declared)
        if kept.declared.terminal:
            check_session_move(kept.id, kept.declared, after)
            changed = [name for name in ("result", "error") if said.get(name) not in (None, getattr(kept, name))]
            if changed:
                words = f"The session {kept.id!r} is {kept.declared}: its {changed[0]} stands."
                raise InvalidTransition(words, remedy="Only its metadata may still change.")
            return
        if "status" not in said:
            return
        if after in (SessionState.COMPLETED, SessionState.ERROR):
            if left := await unfinished(self._store, kept.id):
                words = f"The session {kept.id!r} cannot be {after}: {len(left)} of its tasks have not ended."
                raise InvalidTransition(words, remedy=f"Wait for {left[0].id}, or cancel it.")
        elif after is not SessionState.CANCELLED:
            check_session_move(kept.id, kept.shown(work).state, after)

    async def _end_tasks(self, session: str) -> None:
        for task in await unfinished(self._store, session):
            with suppress(InvalidTransition, NotFound):  # it has ended meanwhile
                await self._cancel(task.id)


def opening(
    id: str, agent: str | None, workflow: str | None, metadata: Mapping[str, Any], now: datetime
) -> list[Operation]:
    """The operations that begin a session, for a commit that may do more."""
    kept = Kept(id, agent, workflow, metadata=metadata, started=now)
    data = {"workflow": workflow, "metadata": dict(metadata)}
    return [Put(kept.record, expect=0), Append(None, NewEvent("session.started", data), agent=agent, session=id)]


def _ends(kept: Kept, said: Mapping[str, Any]) -> bool:
    """Whether an end is declared for which no task may be left."""
    return not kept.declared.terminal and said.get("status") in (SessionState.COMPLETED, SessionState.ERROR)


def _unmarked(kept: Kept) -> Put:
    return Put(replace(kept, closing=False).record, expect=kept.version)


def _written(before: Kept, after: Kept, said: Mapping[str, Any], work: Work | None) -> list[Operation]:
    told = {name: str(value) if name == "status" else value for name, value in said.items()}
    data = {**told, "state": str(after.shown(work).state), "before": str(before.shown(work).state)}
    failed = after.declared is SessionState.ERROR is not before.declared
    event = NewEvent(
        "session.updated",
        data,
        level="error" if failed else "info",
        error_type="session_error" if failed else None,
    )
    return [Put(after.record, expect=before.version), Append(None, event, agent=after.agent, session=after.id)]
