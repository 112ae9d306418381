"""How agents, sessions and workflows look from outside: one shape for the API and for `--json` on the command line."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from opspawn.contracts.lifecycle import AgentStatus, Definition, RegisteredAgent, Session
from opspawn.views import Time, Wire


class RegisteredAgentView(Wire):
    """An agent, of the app or remote."""

    agent_id: str
    agent_name: str
    local: bool = Field(description="Whether it belongs to an app.")
    version: str
    capabilities: list[str]
    contact_endpoint: str | None
    metadata: dict[str, Any]
    concurrency: int | None
    registration_time: Time | None
    state: str | None = Field(None, description="Its state; in lists only.")

    @classmethod
    def of(cls, agent: RegisteredAgent, status: AgentStatus | None = None) -> RegisteredAgentView:
        return cls(
            agent_id=agent.id,
            agent_name=agent.name,
            local=agent.local,
            version=agent.version,
            capabilities=list(agent.capabilities),
            contact_endpoint=agent.contact_endpoint,
            metadata=dict(agent.metadata),
            concurrency=agent.concurrency,
            registration_time=agent.registered,
            state=str(status.state) if status is not None else None,
        )


class StateView(Wire):
    """An agent's state."""

    agent_id: str
    state: str
    details: dict[str, Any] | None
    timestamp: Time | None

    @classmethod
    def of(cls, status: AgentStatus) -> StateView:
        details = dict(status.details) if status.details is not None else None
        return cls(agent_id=status.agent, state=str(status.state), details=details, timestamp=status.timestamp)


class SessionView(Wire):
    """A session."""

    session_id: str
    agent_id: str | None
    workflow_id: str | None
    status: str
    metadata: dict[str, Any]
    result: Any
    error: Any
    start_time: Time | None
    last_updated_time: Time | None
    end_time: Time | None
    version: int

    @classmethod
    def of(cls, session: Session) -> SessionView:
        return cls(
            session_id=session.id,
            agent_id=session.agent,
            workflow_id=session.workflow,
            status=str(session.state),
            metadata=dict(session.metadata),
            result=session.result,
            error=session.error,
            start_time=session.started,
            last_updated_time=session.updated,
            end_time=session.ended,
            version=session.version,
        )


class WorkflowView(Wire):
    """A workflow, of the app or stored."""

    workflow_id: str
    digest: str = Field(description="What tells this version from others.")
    versions: list[str] = Field(description="The digests of all versions, oldest first.")
    definition: dict[str, Any]
    updated: Time | None

    @classmethod
    def of(cls, kept: Definition) -> WorkflowView:
        return cls(
            workflow_id=kept.id,
            digest=kept.digest,
            versions=list(kept.versions),
            definition=dict(kept.definition),
            updated=kept.updated,
        )
