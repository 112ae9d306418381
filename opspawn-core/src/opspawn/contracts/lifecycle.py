"""What is known of agents and sessions, and the moves that their states allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from opspawn.contracts.events import Event
from opspawn.contracts.store import Page


class AgentState(StrEnum):
    """What an agent does. `paused` and `error` get no work, nor do `initializing` and `finished`."""

    UNKNOWN = "unknown"
    INITIALIZING = "initializing"
    IDLE = "idle"
    ACTIVE = "active"
    ERROR = "error"
    PAUSED = "paused"
    FINISHED = "finished"

    @property
    def words(self) -> str:
        """For sentences: "is idle", "is in error", "is in a state unknown"."""
        odd = {AgentState.ERROR: "is in error", AgentState.UNKNOWN: "is in a state unknown"}
        return odd.get(self, f"is {self}")


class SessionState(StrEnum):
    """What became of a session; from the last three nothing leads on."""

    WAITING = "waiting"
    PROCESSING = "processing"
    PAUSED = "paused"
    COMPLETED = "completed"
    ERROR = "error"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the session has ended for good."""
        return self in (SessionState.COMPLETED, SessionState.ERROR, SessionState.CANCELLED)

    @property
    def words(self) -> str:
        """For sentences: "is waiting", "has ended in error"."""
        return "has ended in error" if self is SessionState.ERROR else f"is {self}"


@dataclass(frozen=True, slots=True)
class RegisteredAgent:
    """An agent as it is registered.

    Attributes:
        id: what tasks name; a local agent's is its name.
        local: whether an app of ours runs its loop; any other gets its tasks at `contact_endpoint`, an http(s) URL.
        capabilities: what it can do, in words that workflows ask for.
        concurrency: how many tasks it gets at once, at least 1; None for as many as there are (local agents only).
        registered: when it was first registered.
    """

    id: str
    name: str
    local: bool = False
    version: str = ""
    capabilities: tuple[str, ...] = ()
    contact_endpoint: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int | None = None
    registered: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """An agent's state, what was said about it, and when that was true (of a local agent that is idle or active: now).

    `late` says that the report which this answers was older than what is known: it went into the history only.
    """

    agent: str
    state: AgentState
    details: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    late: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A tracked piece of an agent's work, or a conversation.

    `state` follows from its tasks while they say more than what was written (`opspawn.ops.sessions`). `version` is 0
    for a session that nobody wrote anything about: it is known by its tasks alone.
    """

    id: str
    agent: str | None
    state: SessionState
    workflow: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None
    error: Any = None
    started: datetime | None = None
    updated: datetime | None = None
    ended: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class Definition:
    """A stored workflow: its id, the digest of the current version, and the digests of all, oldest first."""

    id: str
    digest: str
    versions: Sequence[str]
    definition: Mapping[str, Any]
    updated: datetime | None = None


class AgentRegistry(Protocol):
    """The agents that there are, local and remote, and their states."""

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
    ) -> RegisteredAgent:
        """Register a remote agent, or what is new about one; its state and history stay. Without an id it gets one.

        Raises: InvalidInput: a value does not fit, or the id is that of an agent of the app.
        """
        ...

    async def deregister(self, id: str) -> None:
        """Forget an agent; its history stays, and its tasks wait until it is registered again.

        Raises: NotFound. InvalidTransition: it belongs to the app.
        """
        ...

    async def get(self, id: str) -> RegisteredAgent:
        """One agent. Raises: NotFound."""
        ...

    async def find(
        self,
        *,
        state: AgentState | None = None,
        capability: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[tuple[RegisteredAgent, AgentStatus]]:
        """Agents with their states, newest first. What a page holds is filtered, so it may hold fewer than `limit`."""
        ...

    async def set_state(
        self,
        agent_id: str,
        new_state: str,
        details: Mapping[str, Any] | None = None,
        timestamp: datetime | str | None = None,
    ) -> AgentStatus:
        """Report a state, true since `timestamp` (aware, or ISO 8601 with an offset; None is now).

        Upper and lower case are one, and "busy" means active. A report older than the last one goes into the history
        and changes nothing else; the same report again changes nothing.

        Raises: NotFound. InvalidInput: no such state, or a timestamp that is none or lies in the future.
            InvalidTransition: the state does not follow from the last one.
        """
        ...

    async def get_state(self, agent_id: str) -> AgentStatus:
        """What an agent does now. Raises: NotFound."""
        ...

    async def resume(self, agent_id: str) -> AgentStatus:
        """Lift a pause, and of a local agent an error.

        Raises: NotFound. InvalidTransition: there is nothing to lift.
        """
        ...

    async def history(self, agent_id: str, *, limit: int = 200, position: int = 0) -> Sequence[Event]:
        """What was reported of an agent, oldest first, after a position; it outlives a deregistration.

        Raises: NotFound: there never was such an agent.
        """
        ...


class Sessions(Protocol):
    """The sessions of agents."""

    async def start_session(
        self,
        agent_id: str,
        workflow_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Session:
        """Begin a session of an agent. The same key with the same request gives the session of the first time.

        Raises: NotFound: no such agent. InvalidInput. IdempotencyMismatch: the key came with another request.
        """
        ...

    async def update_session(
        self, agent_id: str, session_id: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> Session:
        """Change an agent's session.

        Args:
            changes: any of `status`, `metadata` (merged key by key; null removes), `result`, `error`.
            version: the version that the caller has seen; None merges with whatever others have changed.

        Raises:
            NotFound: the agent has no such session. InvalidInput: a change that does not fit.
            InvalidTransition: the status does not follow from the present one, or the session has ended.
            Conflict: the session is no longer at `version`.
        """
        ...

    async def get(self, session_id: str) -> Session:
        """One session. Raises: NotFound."""
        ...

    async def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Session]:
        """Sessions that were started by name or by a workflow, newest first; a page may hold fewer than `limit`."""
        ...


class Definitions(Protocol):
    """The workflows that were stored, beside those of the app."""

    async def create_workflow(self, template: Mapping[str, Any] | str) -> Definition:
        """Check a definition (data, or YAML or JSON text) and store it under its name; the newest version counts.

        Raises: InvalidInput: with every fault. InvalidTransition: the app has a workflow of that name.
        """
        ...

    async def get(self, id: str) -> Definition:
        """A workflow, stored or of the app. Raises: NotFound."""
        ...

    async def find(self, *, limit: int = 50, cursor: str | None = None) -> Page[Definition]:
        """Stored workflows, newest first."""
        ...
