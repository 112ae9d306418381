"""A way in for callers outside the process: REST, gRPC, an MCP server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.lifecycle import AgentRegistry, AgentStatus, Definitions, Sessions
from opspawn.contracts.memory import Memory
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.schedule import Schedules
from opspawn.contracts.seeing import Pruned, Why, WorkerInfo
from opspawn.contracts.store import EventQuery, Finding, Page, Query, Task
from opspawn.contracts.tool import Tool

if TYPE_CHECKING:
    from opspawn.contracts.run_events import RunEvent


@dataclass(frozen=True, slots=True)
class DeadQuery:
    """Which of the dead: equality, and a window of when they ended, half open. `limit` is 1 to 200, newest first."""

    handler: str | None = None
    agent: str | None = None
    queue: str | None = None
    error_type: str | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None
    limit: int = 50
    cursor: str | None = None

    @property
    def filters(self) -> bool:
        """Whether it leaves any of the dead out."""
        named = (self.handler, self.agent, self.queue, self.error_type, self.ended_after, self.ended_before)
        return any(value is not None for value in named)


#: The handler that calls one tool, with the input `{"tool", "source", "arguments", "agent"}`.
TOOL_CALL = "tool/call"


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A tool that callers may have called, by a task of the handler `TOOL_CALL`; `source` is where it comes from, for
    one that comes and goes.
    """

    tool: Tool
    source: str | None = None


class AgentInfo(Protocol):
    """What the outside may know of an agent."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def planner(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def tool_names(self) -> Sequence[str]: ...


class Host(Protocol):
    """What a transport may do.

    The running `opspawn serve` is one; every method raises `OpspawnError`s of its own tree.
    """

    def agents(self) -> Sequence[AgentInfo]:
        """The agents of the app, by name."""
        ...

    def workflows(self) -> Sequence[str]:
        """The ids of the app's workflows, sorted."""
        ...

    async def tools(self, named: Sequence[str], agent: str = "") -> Sequence[OfferedTool]:
        """The tools that these names stand for now: of the app and its agents, or "SOURCE:PART" of those that come and
        go, as `agent` would be offered them.

        Raises: NotFound, InvalidInput: nothing is called so; and what a source raises that has none now.
        """
        ...

    @property
    def registry(self) -> AgentRegistry:
        """The agents that there are, local and remote."""
        ...

    @property
    def sessions(self) -> Sessions:
        """The sessions of agents."""
        ...

    @property
    def schedules(self) -> Schedules:
        """What is submitted when its time comes."""
        ...

    @property
    def definitions(self) -> Definitions:
        """The workflows that were stored."""
        ...

    async def set_state(
        self, agent_id: str, state: str, details: Mapping[str, Any] | None = None, timestamp: Any = None
    ) -> AgentStatus:
        """As `registry.set_state`; details that name a task (`taskId`) also hand in its result."""
        ...

    async def report_result(
        self, task_id: str, *, result: Any = None, error: Mapping[str, Any] | None = None, agent: str | None = None
    ) -> Task:
        """Hand in what a remote agent made of its task. A second report, or one that comes too late, changes nothing.

        Raises: NotFound. InvalidTransition: no remote agent works on the task. InvalidInput.
        """
        ...

    async def notify(self, headers: Mapping[str, str], body: bytes) -> str:
        """Take a signed notification of agentkit; the answer is words for its sender.

        Raises: Refused: it is not signed, or came before, or this server has no secret. InvalidInput.
        """
        ...

    async def trace(self, task_id: str) -> Any:
        """What a task and its children did: a tree of spans, plain JSON by its `to_json`. Raises: NotFound."""
        ...

    async def handler_of(self, agent_id: str) -> str:
        """The handler of an agent's tasks: "agent/ID", or "remote/ID". Raises: NotFound."""
        ...

    async def submit(self, handler: str, input: Any = None, **options: Unpack[TaskOptions]) -> Task:
        """Accept a task durably; it runs as soon as a worker takes it. `enqueue` is the same.

        `timeout_s` is for one attempt, `retry` for attempts of the whole; `fallback` is asked when none is left.

        Raises:
            NotFound: no such handler, or fallback. InvalidInput: the input does not fit it.
            IdempotencyMismatch: the key came before with another request. The same request gives the same task.
        """
        ...

    async def enqueue(self, handler: str, input: Any = None, **options: Unpack[TaskOptions]) -> Task:
        """As `submit`."""
        ...

    async def dispatch(
        self, handler: str, input: Any = None, *, wait_s: float = math.inf, **options: Unpack[TaskOptions]
    ) -> Task:
        """As `submit`, and return the task once it has settled, or as it stands after `wait_s` seconds."""
        ...

    async def submit_definition(
        self, definition: dict[str, Any], input: Any = None, **options: Unpack[TaskOptions]
    ) -> Task:
        """Accept a run of a workflow that the caller sends along; the definition is pinned to the run."""
        ...

    async def task(self, id: str) -> Task:
        """A task. Raises: NotFound."""
        ...

    async def wait(self, id: str, timeout_s: float) -> Task:
        """The task once it has ended or halted, or as it stands after `timeout_s` seconds."""
        ...

    async def tasks(self, query: Query) -> Page[Task]:
        """Tasks, newest first."""
        ...

    async def journal(self, id: str, after: int = 0) -> Sequence[Event]:
        """A task's journal after a position. Raises: NotFound."""
        ...

    async def events(self, query: EventQuery) -> Sequence[Event]:
        """Events over all tasks."""
        ...

    def tail(self, after: int | None = None) -> AsyncIterator[Event | TaskDelta]:
        """Events as they happen, and deltas between them; ends when the host stops."""
        ...

    def stream(self, id: str, *, after: str | None = None) -> AsyncIterator[RunEvent]:
        """What happened in a task and in those within it, and then what happens, until it has ended or the host stops.

        Pieces of answers come while they are made, and are not told again. `after` is the id of an event: the stream
        goes on behind it.

        Raises: NotFound. InvalidInput: `after` is no id.
        """
        ...

    async def cancel(self, id: str) -> Task:
        """Ask for the end of a task. Raises: NotFound, InvalidTransition (it has ended)."""
        ...

    async def retry(
        self,
        id: str,
        retry_count: int | None = None,
        *,
        from_scratch: bool = False,
        idempotency_key: str | None = None,
    ) -> Task:
        """Start a failed or cancelled task anew, as a new task that keeps what succeeded (unless `from_scratch`).

        `retry_count` is how often it may be tried again by itself; None keeps what the task had.

        Raises: NotFound (the task, or what it runs), InvalidTransition, InvalidInput, IdempotencyMismatch.
        """
        ...

    async def dead(self, query: DeadQuery) -> Page[Task]:
        """Tasks that failed, have no attempt left, and were not retried since; newest first."""
        ...

    async def retry_all(
        self,
        query: DeadQuery,
        *,
        everything: bool = False,
        limit: int = 100,
        from_scratch: bool = False,
        retry_count: int | None = None,
    ) -> tuple[list[Task], bool]:
        """Retry the dead that match, at most `limit` (1 to 1000); the new tasks, and whether there may be more.

        A query without any filter is refused unless `everything` says that all of them are meant.

        Raises: InvalidInput. NotFound: no task is of the handler, agent or queue that it names, and nobody is.
        """
        ...

    async def fallback_task(self, id: str, handler: str | None = None) -> Task:
        """Ask another handler about a dead task; by default the fallback that the task names.

        Raises: NotFound, InvalidInput, InvalidTransition.
        """
        ...

    async def resolve(
        self, id: str, outcome: str, result: Any = None, *, key: str | None = None, by: str | None = None
    ) -> Task:
        """Decide on a step in doubt: "happened" (with its result), "not-happened", "again" or "fail".

        `key` names the step where several are in doubt; `by` says who decided.

        Raises: NotFound, InvalidTransition, InvalidInput.
        """
        ...

    async def signal(
        self, task: str, name: str, data: Any = None, *, id: str | None = None, by: str | None = None
    ) -> Task:
        """Send a signal to a task; the same id again is the same signal. Raises: NotFound, InvalidTransition (it has
        ended), InvalidInput.
        """
        ...

    async def pause(self, id: str, *, by: str | None = None) -> Task:
        """Let a task and all under it stand still, at the next step what runs. Raises: NotFound, InvalidTransition."""
        ...

    async def resume(self, id: str, *, by: str | None = None) -> Task:
        """Let a paused task go on, and what was paused with it. Raises: NotFound, InvalidTransition (it is not
        paused)."""
        ...

    async def questions(self, query: Query) -> Page[AskedQuestion]:
        """Questions that runs asked, newest first, by `task`, `root`, `state`, `kind`, `to`."""
        ...

    async def question(self, id: str) -> AskedQuestion:
        """A question. Raises: NotFound."""
        ...

    async def approvals(self, query: Query) -> Page[AskedQuestion]:
        """Calls that wait for a human's leave, or did, newest first; those of a whole tree by its `root`."""
        ...

    async def approve(
        self, id: str, *, arguments: Mapping[str, Any] | None = None, always: bool = False, by: str | None = None
    ) -> AskedQuestion:
        """Allow a call, with other `arguments` if given; `always` lets the same policy not ask about the same tool
        again in this run. The first decision counts.

        Raises: NotFound, InvalidTransition (decided, expired, or the task has ended), InvalidInput.
        """
        ...

    async def deny(self, id: str, reason: str = "", *, by: str | None = None) -> AskedQuestion:
        """Refuse a call; the model is told the reason. Raises: as `approve`."""
        ...

    async def answer(self, id: str, value: Any, *, by: str | None = None) -> AskedQuestion:
        """Answer a question; the first answer counts.

        Raises: NotFound, InvalidTransition (answered, expired, or the task has ended), InvalidInput (it does not fit).
        """
        ...

    async def why(self, task_id: str) -> Why:
        """What a task waits for, and when that ends. Raises: NotFound."""
        ...

    async def memory(self) -> Memory:
        """The configured long-term memory, open. Raises: ConfigError, MemoryUnusable."""
        ...

    async def workers(self) -> Sequence[WorkerInfo]:
        """The workers that told of themselves, the newest first; some may have died since."""
        ...

    async def examine(self) -> Sequence[tuple[str, Finding]]:
        """What a doctor finds on this machine, in the configuration and in the store, each with the part it is about.

        It reads, and never mends.
        """
        ...

    async def prune(
        self, *, older_than: str | None = None, keep_at_most: int | None = None, dry_run: bool = True
    ) -> Pruned:
        """Delete trees of tasks that ended long ago, by the settings `[retention]` or by what is given in their place.

        Raises: InvalidInput: nothing says what is old. InvalidTransition: somebody else deletes now.
        """
        ...

    async def backup(self, path: str) -> None:
        """Copy everything that is committed to a new file on this machine, while work goes on.

        Raises: InvalidInput: the store makes no backups itself. StoreError: the file is there, or cannot be written.
        """
        ...

    async def ready(self) -> dict[str, Any]:
        """What `/readyz` tells: `{"ready": bool, ...}` with a line per part."""
        ...


class Transport(Protocol):
    """One open way in."""

    @property
    def address(self) -> str:
        """Where it listens, as a user would type it, e.g. "http://127.0.0.1:8000"."""
        ...

    async def bind(self) -> None:
        """Take the address without serving it yet, before the host opens its store: so a refusal leaves nothing behind.

        Raises: ConfigError when the address is taken or not to be had.
        """
        ...

    async def start(self) -> None:
        """Begin to serve. Raises: ConfigError when the address was taken in the meantime."""
        ...

    async def stop(self) -> None:
        """Stop accepting, let requests in flight finish within a few seconds, end streams. Idempotent."""
        ...
