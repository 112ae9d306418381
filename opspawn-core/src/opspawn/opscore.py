"""The engine as a Python library: what ops-core does, without a server.

    async with OpsCore.open(app) as ops:
        task = await ops.dispatch_task("helper", {"input": "How do I reset a token?"}, wait_s=60)

`SyncOpsCore` is the same for code without an event loop, notebooks included.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.contracts.lifecycle import AgentStatus, Definition, RegisteredAgent, Session
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.seeing import Why
from opspawn.contracts.store import Page, Query, Task
from opspawn.contracts.transport import DeadQuery
from opspawn.errors import InvalidInput
from opspawn.host import Host
from opspawn.ops.traces import Trace

#: What may be said of a task beside one of `handler`, `agent`, `workflow` and `function`: its input, and `TaskOptions`,
#: of which `agent` is called `agent_id` here.
TASK_FIELDS = (
    "input",
    "agent_id",
    *(name for name in TaskOptions.__annotations__ if name != "agent"),
)
_WHO = ("handler", "agent", "workflow", "function")

TaskData = Mapping[str, Any]
"""A task to be: one of `handler` ("agent/NAME", ...), `agent`, `workflow` and `function`, and any of `TASK_FIELDS`."""


class OpsCore:
    """Tasks, workflows, sessions and agents of a store, as methods; `open` makes one.

    Every method raises `NotFound` for an id that is not there, `InvalidInput` for what does not fit,
    `InvalidTransition` for what the state does not allow, and `StoreError` when the store fails.
    """

    def __init__(self, host: Host) -> None:
        """Speak for a host that is open."""
        self.host = host

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        app: App | None = None,
        *,
        loaded: Loaded | None = None,
        data: str | Path | None = None,
        worker: bool = True,
    ) -> AsyncIterator[OpsCore]:
        """Open the configured store and, with `worker`, run tasks in this process while the block lasts.

        Args:
            app: what can be run here; without it only remote agents and stored workflows.
            loaded: the configuration; by default that of the current folder and the environment.
            data: the folder for local files, instead of the configuration's.
        """
        async with Host.open(app or App(), loaded=loaded, data=data, worker=worker) as host:
            yield cls(host)

    # -- agents --------------------------------------------------------------------------------------------------------

    async def register_agent(
        self,
        agent_id: str | None = None,
        *,
        name: str,
        contact_endpoint: str,
        version: str = "",
        capabilities: tuple[str, ...] | list[str] = (),
        metadata: Mapping[str, Any] | None = None,
        concurrency: int = 1,
    ) -> RegisteredAgent:
        """Register a remote agent, or what is new about one; without an id it gets one."""
        return await self.host.registry.register(
            agent_id,
            name=name,
            version=version,
            capabilities=capabilities,
            contact_endpoint=contact_endpoint,
            metadata=metadata,
            concurrency=concurrency,
        )

    async def set_state(
        self,
        agent_id: str,
        new_state: str,
        details: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
    ) -> AgentStatus:
        """Report an agent's state, true since `timestamp` (None: now); a report that is older than the last one goes
        into the history only, and the answer is then `late`.
        """
        return await self.host.set_state(agent_id, new_state, details, timestamp)

    async def get_state(self, agent_id: str) -> AgentStatus:
        """What an agent does now."""
        return await self.host.registry.get_state(agent_id)

    async def pause_agent(self, agent_id: str, details: Mapping[str, Any] | None = None) -> AgentStatus:
        """Give an agent no more tasks until `resume_agent`; those that run go on."""
        return await self.host.registry.set_state(agent_id, "paused", details)

    async def resume_agent(self, agent_id: str) -> AgentStatus:
        """Lift a pause, and of an agent of the app an error."""
        return await self.host.registry.resume(agent_id)

    # -- sessions ------------------------------------------------------------------------------------------------------

    async def start_session(
        self, agent_id: str, workflow_id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Session:
        """Begin a session of an agent."""
        return await self.host.sessions.start_session(agent_id, workflow_id, metadata)

    async def update_session(
        self, agent_id: str, session_id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Session:
        """Change any of `status`, `metadata`, `result` and `error` of an agent's session. Raises: Conflict."""
        return await self.host.sessions.update_session(agent_id, session_id, changes, version=version)

    async def get_session(self, session_id: str) -> Session:
        """One session."""
        return await self.host.sessions.get(session_id)

    # -- workflows and tasks -------------------------------------------------------------------------------------------

    async def create_workflow(self, template: Mapping[str, Any] | str) -> Definition:
        """Check a definition (data, or YAML or JSON text) and store it under its name."""
        return await self.host.definitions.create_workflow(template)

    async def trigger_workflow(self, workflow_id: str, inputs: Any = None, *, agent_id: str | None = None) -> Task:
        """Start a workflow, of the app or stored."""
        return await self.host.submit(f"workflow/{workflow_id}", inputs, agent=agent_id)

    async def enqueue_task(self, task: TaskData) -> Task:
        """Accept a task durably; it runs as soon as a worker takes it."""
        handler, options = _handler(task), _options(task)
        return await self.host.submit(handler, options.pop("input", None), **options)

    async def schedule_task(self, task: TaskData, delay: float) -> Task:
        """Accept a task that starts no sooner than `delay` seconds from now."""
        if not isinstance(delay, int | float) or isinstance(delay, bool) or not 0 <= delay <= 100 * 366 * 86400:
            raise InvalidInput(f"A task cannot be delayed by {delay!r} seconds.", remedy="Give a number from 0.")
        return await self.enqueue_task({**task, "delay_s": float(delay)})

    async def dispatch_task(self, agent_id: str, task: TaskData, *, wait_s: float = 0.0) -> Task:
        """Give a task to an agent, of the app or remote; with `wait_s`, return it once it has settled, or after that.

        An agent that is paused or in error gets it when it is no longer.
        """
        _check_mapping(task)
        named = [name for name in _WHO if name in task]
        if named:
            raise InvalidInput(f"The task names {named[0]!r}, but {agent_id!r} is to do it.", remedy="Leave it out.")
        handler, options = await self.host.handler_of(agent_id), _options(task)
        return await self.host.dispatch(handler, options.pop("input", None), wait_s=wait_s, **options)

    async def wait_for(self, task_id: str, timeout_s: float) -> Task:
        """The task once it has ended or halted, or as it stands after `timeout_s` seconds."""
        return await self.host.wait(task_id, timeout_s)

    async def get_task(self, task_id: str) -> Task:
        """One task."""
        return await self.host.task(task_id)

    async def cancel_task(self, task_id: str) -> Task:
        """Ask for the end of a task, its children first."""
        return await self.host.cancel(task_id)

    async def retry_task(self, task_id: str, retry_count: int | None = None) -> Task:
        """Run a failed or cancelled task again, as a new task that keeps what succeeded; let a paused one go on.

        `retry_count` says how often the new task may be tried again by itself; None keeps what it had.
        """
        return await self.host.retry(task_id, retry_count)

    async def fallback_task(self, task_id: str, handler: str | None = None) -> Task:
        """Ask the fallback of a failed task, or another handler, in its place; the answer is the new task."""
        return await self.host.fallback_task(task_id, handler)

    async def pause_task(self, task_id: str) -> Task:
        """Let a task and all under it stand still at their next steps, until `resume_task`."""
        return await self.host.pause(task_id)

    async def resume_task(self, task_id: str) -> Task:
        """Let a paused task go on, and what was paused with it."""
        return await self.host.resume(task_id)

    async def resolve_task(
        self, task_id: str, outcome: str, result: Any = None, *, key: str | None = None, by: str | None = None
    ) -> Task:
        """Decide on a step in doubt: "happened" (with its result), "not-happened", "again" or "fail".

        `key` names the step where several are in doubt, `by` whoever decides.
        """
        return await self.host.resolve(task_id, outcome, result, key=key, by=by)

    async def signal_task(
        self, task_id: str, name: str, data: Any = None, *, signal_id: str | None = None, by: str | None = None
    ) -> Task:
        """Send a signal to a task; the same `signal_id` again is the same signal."""
        return await self.host.signal(task_id, name, data, id=signal_id, by=by)

    async def list_questions(self, query: Query | None = None) -> Page[AskedQuestion]:
        """Questions of tasks to people, newest first; `where={"state": "open"}` asks for those without an answer."""
        return await self.host.questions(query or Query())

    async def answer_question(self, question_id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        """Answer a question. The first answer counts."""
        return await self.host.answer(question_id, value, by=by)

    async def list_tasks(self, query: Query | None = None) -> Page[Task]:
        """Tasks that match, newest first."""
        return await self.host.tasks(query or Query())

    async def dead_tasks(self, query: DeadQuery | None = None) -> Page[Task]:
        """Tasks that have failed, have no attempt left, and were not brought back."""
        return await self.host.dead(query or DeadQuery())

    async def why(self, task_id: str) -> Why:
        """What a task waits for, and when that ends."""
        return await self.host.why(task_id)

    # -- traces --------------------------------------------------------------------------------------------------------

    async def start_trace(self, task_id: str) -> Trace:
        """What a task has done so far. A journal is always kept, so nothing is switched on, and nothing is slower."""
        return await self.host.trace(task_id)

    async def end_trace(self, task_id: str) -> Trace:
        """What a task and its children did: a tree of spans with their times; of one that goes on, up to now."""
        return await self.host.trace(task_id)


def _check_mapping(task: object) -> None:
    if not isinstance(task, Mapping):
        raise InvalidInput(
            f"A task is a mapping, not {task!r}.", remedy='Write e.g. {"agent": "helper", "input": "..."}.'
        )


def _handler(task: TaskData) -> str:
    _check_mapping(task)
    named = [name for name in _WHO if task.get(name) is not None]
    if len(named) != 1:
        words = f"The task names {' and '.join(named) or 'nobody'} to do it."
        raise InvalidInput(words, remedy=f"Give exactly one of {', '.join(_WHO)}.")
    value = str(task[named[0]])
    return value if named[0] == "handler" else f"{named[0]}/{value}"


def _options(task: TaskData) -> dict[str, Any]:
    known = (*_WHO, *TASK_FIELDS)
    for name in task:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise InvalidInput(
                f"A task has no {name!r}.",
                remedy=f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}.",
            )
    options = {name: task[name] for name in TASK_FIELDS if name in task}
    if "agent_id" in options:
        options["agent"] = options.pop("agent_id")
    return options
