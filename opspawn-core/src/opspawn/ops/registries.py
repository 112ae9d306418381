"""Agents, sessions and stored workflows of a store, put together around one engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.lifecycle import AgentStatus
from opspawn.contracts.store import Batch, Store, Task, Wake
from opspawn.errors import InvalidInput, InvalidTransition, NotFound
from opspawn.ops.agents.agents import Agents
from opspawn.ops.agents.directory import Directory
from opspawn.ops.agents.reach import Reach
from opspawn.ops.agents.remote import REPORT, Courier
from opspawn.ops.agents.webhook import Notifications
from opspawn.ops.definitions import Definitions
from opspawn.ops.sessions.sessions import Sessions
from opspawn.ops.states import SERVED, plain_object, plain_value

#: Names of `details` that hand in the result of a task along with a state.
_TASK = ("taskId", "opscore_task_id")


class Engine(Protocol):
    """What is asked of the engine."""

    async def task(self, id: str) -> Task: ...
    async def cancel(self, id: str) -> Task: ...
    async def signal(self, task: str, name: str, data: Any = None, *, id: str | None = None) -> Task: ...


@dataclass(frozen=True, slots=True)
class RosterOptions:
    """As the settings `[agents]` say; `own` are the app's agents."""

    own: Collection[str] = ()
    secret: str | None = None
    allow_private: bool = False
    send_timeout_s: float = 15.0
    answer_timeout_s: float = 3600.0


class Roster:
    """Everything of the lifecycle, opened by `open` and closed by `aclose`.

    Attributes: agents, sessions, definitions, reach, notifications: see their classes.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        definitions: Definitions,
        options: RosterOptions,
        *,
        changed: Callable[[Roster], None] = lambda roster: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.agents = Agents(store, own=options.own, clock=clock)
        self.sessions = Sessions(store, self.agents, engine.cancel, clock=clock)
        self.definitions = definitions
        self.notifications = Notifications(store, self.agents, options.secret, clock)
        self.directory = Directory(store, self.agents, lambda: changed(self))
        courier = Courier(
            self.agents,
            secret=options.secret,
            send_timeout_s=options.send_timeout_s,
            answer_timeout_s=options.answer_timeout_s,
            allow_private=options.allow_private,
            clock=clock,
        )
        self.reach = Reach(store, self.agents, self.directory, courier)
        self._engine = engine
        self._store = store

    async def report_result(
        self, task_id: str, *, result: Any = None, error: Mapping[str, Any] | None = None, agent: str | None = None
    ) -> Task:
        """See `opspawn.contracts.transport.Host`. The report is a signal that the task takes once."""
        task = await self._engine.task(task_id)
        if not task.handler.startswith("remote/"):
            raise InvalidTransition(f"Task {task_id} is of {task.handler!r}: no remote agent works on it.")
        if agent is not None and task.handler != f"remote/{agent}":
            raise NotFound("task", task_id, remedy=f"At least, it is none of the agent {agent!r}.")
        if task.state.terminal:
            return task
        report: dict[str, Any] = {"result": plain_value("result", result)}
        if error is not None:
            if result is not None:
                raise InvalidInput("A report has a result or an error, not both.")
            report = {"error": plain_object("error", error)}
        await self._engine.signal(task_id, REPORT, report, id=f"{REPORT} {task_id} {task.attempt}")
        status = await self.agents.get_state(task.handler.removeprefix("remote/"))
        if status.state not in SERVED:  # its lane is closed, but the task has nothing more to ask of it
            await self._store.commit(Batch([Wake(task_id, urgent=True, cancel=True)]))
        return await self._engine.task(task_id)

    async def set_state(
        self, agent_id: str, new_state: str, details: Mapping[str, Any] | None = None, timestamp: Any = None
    ) -> AgentStatus:
        """As `AgentRegistry.set_state`; details that name a task hand in its result, or with the state error a failure.

        So an agent that knows no other way to answer than to report its state can do remote work, too.
        """
        status = await self.agents.set_state(agent_id, new_state, details, timestamp)
        said = details or {}
        task = next((said[name] for name in _TASK if isinstance(said.get(name), str)), None)
        if task is not None and str(new_state).strip().lower() in ("idle", "finished", "error"):
            failed = str(new_state).strip().lower() == "error"
            error = {name: value for name, value in said.items() if name not in _TASK} if failed else None
            try:
                await self.report_result(
                    task, result=None if failed else said.get("result"), error=error, agent=agent_id
                )
            except (NotFound, InvalidTransition):
                return status  # the state is reported all the same
        return status

    async def open(self) -> None:
        """Read what was registered, and follow what comes."""
        await self.directory.open()

    async def aclose(self) -> None:
        """Stop following. Idempotent."""
        await self.directory.aclose()
