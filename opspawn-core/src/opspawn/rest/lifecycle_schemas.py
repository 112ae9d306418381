"""Requests and answers about agents, sessions and stored workflows."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from opspawn.lifecycle_views import RegisteredAgentView, SessionView
from opspawn.rest.schemas import Body, Id
from opspawn.views import EventView, Wire


class AgentRegistration(Body):
    """Register a remote agent, or what is new about one."""

    agent_id: Id | None = Field(None, description="A new one by default.")
    agent_name: str = Field(description="A name for people.")
    version: str = Field("", description="The agent's own version.")
    capabilities: list[str] = Field(default_factory=list, description="What it can do, in words that workflows use.")
    contact_endpoint: str = Field(description="The http(s) URL that takes the agent's tasks.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Whatever else is to be kept with it.")
    concurrency: int = Field(1, description="How many tasks it gets before it has reported on them.")


class RegisteredAgents(Wire):
    """A page of agents, newest first."""

    agents: list[RegisteredAgentView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class StateReport(Body):
    """Report an agent's state."""

    agent_id: str | None = Field(None, description="The agent of the path, again.")
    state: str = Field(description="unknown, initializing, idle, active (or busy), error, paused, finished; any case.")
    details: dict[str, Any] | None = Field(
        None, description="What is to be said of it. With taskId (and result), it hands in the result of that task."
    )
    timestamp: str | None = Field(None, description="Since when it is true, ISO 8601 with an offset; now by default.")


class StateAccepted(Wire):
    """A report was taken."""

    status: str = "success"
    message: str = "State update accepted"
    agent_id: str
    state: str = Field(description="The agent's state as it is now.")
    late: bool = Field(description="Whether a later report was there already: then this one is history only.")


class AgentHistory(Wire):
    """What was reported of an agent, oldest first."""

    events: list[EventView]


class Notified(Wire):
    """A notification was taken."""

    status: str = "success"
    message: str


class TaskResult(Body):
    """What a remote agent made of its task: a result, or an error."""

    agent_id: str | None = Field(None, description="The agent that reports; checked if given.")
    result: Any = Field(None, description="Any JSON.")
    error: dict[str, Any] | None = Field(
        None, description='Why it failed: {"message": ...}, and a "type" by which it may be tried again.'
    )


class SessionStart(Body):
    """Begin a session."""

    workflow_id: Id | None = Field(None, description="The workflow that it is about.")
    metadata: dict[str, Any] = Field(default_factory=dict)


class SessionChanges(Body):
    """Change a session; what is not mentioned stays."""

    status: str | None = Field(
        None, description="waiting, processing, paused, completed, error or cancelled; any case."
    )
    metadata: dict[str, Any] | None = Field(None, description="Merged key by key; null removes a key.")
    result: Any = None
    error: Any = None
    version: int | None = Field(None, ge=0, description="The version that you have seen: another one is a conflict.")


class SessionPage(Wire):
    """A page of sessions, newest first."""

    sessions: list[SessionView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class WorkflowCreate(Body):
    """Store a workflow under its name."""

    workflow_definition: dict[str, Any] = Field(description="The definition, in either format.")


class TraceView(Wire):
    """The tree of spans of a task."""

    task: str
    duration_s: float | None
    whole: bool = Field(description="False if the tree was too large to show all of it.")
    root: dict[str, Any] = Field(
        description="A span: kind (task, queued, run, step, sleep, wait), name, task, key, start, end, durationS, ok, "
        "error, state, failures (attempts or tries before), more (children not shown, by state), children."
    )
