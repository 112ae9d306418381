"""What a host passes on: talking to tasks and letting them stand still, agents, sessions and stored workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opspawn.catalog import Catalog
from opspawn.checkups import examine_process, examine_store, examine_waker
from opspawn.config import Loaded
from opspawn.contracts.clock import Clock
from opspawn.contracts.lifecycle import AgentStatus
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.seeing import Pruned, Why, WorkerInfo
from opspawn.contracts.store import Finding, Page, Query, Store, Task
from opspawn.contracts.waker import Waker
from opspawn.memory_checkup import examine_memory
from opspawn.ops.agents.agents import Agents
from opspawn.ops.definitions import Definitions
from opspawn.ops.engine.engine import Engine
from opspawn.ops.housekeeping import backup, prune_now
from opspawn.ops.presence import workers
from opspawn.ops.registries import Roster
from opspawn.ops.schedules.schedules import StoredSchedules
from opspawn.ops.sessions.sessions import Sessions
from opspawn.ops.traces import Trace, trace_of
from opspawn.ops.why.why import why
from opspawn.plugins import Plugins


class Hosted:
    """The part of the host that only passes on. See `opspawn.contracts.transport.Host` for what it promises."""

    _catalog: Catalog
    _engine: Engine
    _roster: Roster
    _schedules: StoredSchedules
    _waker: Waker
    store: Store
    loaded: Loaded
    plugins: Plugins
    id: str
    _clock: Clock

    @property
    def registry(self) -> Agents:
        return self._roster.agents

    @property
    def sessions(self) -> Sessions:
        return self._roster.sessions

    @property
    def schedules(self) -> StoredSchedules:
        return self._schedules

    @property
    def definitions(self) -> Definitions:
        return self._roster.definitions

    async def set_state(
        self, agent_id: str, state: str, details: Mapping[str, Any] | None = None, timestamp: Any = None
    ) -> AgentStatus:
        return await self._roster.set_state(agent_id, state, details, timestamp)

    async def report_result(
        self, task_id: str, *, result: Any = None, error: Mapping[str, Any] | None = None, agent: str | None = None
    ) -> Task:
        return await self._roster.report_result(task_id, result=result, error=error, agent=agent)

    async def notify(self, headers: Mapping[str, str], body: bytes) -> str:
        return await self._roster.notifications.take(headers, body)

    async def trace(self, task_id: str) -> Trace:
        """What a task and its children did, with times, as the journal tells it now. Raises: NotFound."""
        return await trace_of(self.store, task_id)

    async def why(self, task_id: str) -> Why:
        return await why(self.store, task_id, self._clock)

    async def workers(self) -> Sequence[WorkerInfo]:
        return await workers(self.store)

    async def examine(self) -> Sequence[tuple[str, Finding]]:
        found = [part async for part in examine_process(self.loaded, self.plugins)]
        found += [part async for part in examine_waker(self._waker)]
        found += [part async for part in examine_memory(self._catalog.memories)]
        return [*found, *[part async for part in examine_store(self.store)]]

    async def prune(
        self, *, older_than: str | None = None, keep_at_most: int | None = None, dry_run: bool = True
    ) -> Pruned:
        kept, owner = self.loaded.settings.retention, f"{self.id} for a caller"
        asked: dict[str, Any] = {"older_than": older_than, "keep_at_most": keep_at_most, "dry_run": dry_run}
        return await prune_now(self.store, kept, owner, self._clock, **asked)

    async def backup(self, path: str) -> None:
        await backup(self.store, path)

    async def signal(
        self, task: str, name: str, data: Any = None, *, id: str | None = None, by: str | None = None
    ) -> Task:
        return await self._engine.signal(task, name, data, id=id, by=by)

    async def pause(self, id: str, *, by: str | None = None) -> Task:
        return await self._engine.pause(id, by=by)

    async def resume(self, id: str, *, by: str | None = None) -> Task:
        return await self._engine.resume(id, by=by)

    async def questions(self, query: Query) -> Page[AskedQuestion]:
        return await self._engine.questions(query)

    async def question(self, id: str) -> AskedQuestion:
        return await self._engine.question(id)

    async def approvals(self, query: Query) -> Page[AskedQuestion]:
        return await self._engine.approvals(query)

    async def approve(
        self, id: str, *, arguments: Mapping[str, Any] | None = None, always: bool = False, by: str | None = None
    ) -> AskedQuestion:
        return await self._engine.approve(id, arguments=arguments, always=always, by=by)

    async def deny(self, id: str, reason: str = "", *, by: str | None = None) -> AskedQuestion:
        return await self._engine.deny(id, reason, by=by)

    async def answer(self, id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        return await self._engine.answer(id, value, by=by)
