"""ops-core over HTTP: sessions, stored workflows, traces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from opspawn.contracts.lifecycle import SessionState
from opspawn.lifecycle_views import SessionView, WorkflowView
from opspawn.rest.deps import HostDep, IdempotencyKey, known_query
from opspawn.rest.lifecycle_schemas import (
    SessionChanges,
    SessionPage,
    SessionStart,
    TraceView,
    WorkflowCreate,
)

router = APIRouter(prefix="/v1/opscore", tags=["opscore sessions"], dependencies=[Depends(known_query)])


@router.post("/agent/{agentId}/sessions", operation_id="startSession", status_code=201)
async def start_session(
    agentId: str, request: SessionStart, host: HostDep, response: Response, idempotency_key: IdempotencyKey = None
) -> SessionView:
    """Begin a session of an agent. The same key with the same request gives the session of the first time."""
    session = await host.sessions.start_session(
        agentId, request.workflow_id, request.metadata, idempotency_key=idempotency_key
    )
    response.headers["Location"] = f"/v1/opscore/sessions/{session.id}"
    return SessionView.of(session)


@router.patch("/agent/{agentId}/sessions/{sessionId}", operation_id="updateSession")
async def update_session(agentId: str, sessionId: str, request: SessionChanges, host: HostDep) -> SessionView:
    """Change an agent's session. What others change at the same time is merged, unless `version` says otherwise."""
    given = request.model_dump(exclude_unset=True, exclude={"version"})
    changes = {name: value for name, value in given.items() if value is not None or name in ("result", "error")}
    return SessionView.of(await host.sessions.update_session(agentId, sessionId, changes, version=request.version))


@router.get("/sessions", operation_id="listSessions")
async def list_sessions(
    host: HostDep,
    agent: str | None = None,
    status: SessionState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> SessionPage:
    """Sessions that were started by name or by a workflow, newest first. A filtered page may be short."""
    page = await host.sessions.find(agent=agent, state=status, limit=limit, cursor=cursor)
    return SessionPage(sessions=[SessionView.of(one) for one in page.items], cursor=page.cursor)


@router.get("/sessions/{sessionId}", operation_id="getSession")
async def get_session(sessionId: str, host: HostDep) -> SessionView:
    """One session, as its tasks and what was declared of it say."""
    return SessionView.of(await host.sessions.get(sessionId))


@router.post("/workflows", operation_id="createWorkflow", status_code=201)
async def create_workflow(request: WorkflowCreate, host: HostDep, response: Response) -> WorkflowView:
    """Check a definition and store it under its name; the same definition again is no new version."""
    kept = await host.definitions.create_workflow(request.workflow_definition)
    response.headers["Location"] = f"/v1/opscore/workflows/{kept.id}"
    return WorkflowView.of(kept)


@router.get("/workflows/{workflowId}", operation_id="getWorkflow")
async def get_workflow(workflowId: str, host: HostDep) -> WorkflowView:
    """One workflow, of the app or stored."""
    return WorkflowView.of(await host.definitions.get(workflowId))


@router.get("/tasks/{id}/trace", operation_id="getTrace")
async def get_trace(id: str, host: HostDep) -> TraceView:
    """What a task and its children did, with times."""
    trace = (await host.trace(id)).to_json()
    return TraceView(task=trace["task"], duration_s=trace["durationS"], whole=trace["whole"], root=trace["root"])
