"""ops-core over HTTP: agents, their states, and what remote ones report."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from loguru import logger

from opspawn.contracts.ids import check_key
from opspawn.contracts.lifecycle import AgentState
from opspawn.errors import InvalidTransition
from opspawn.lifecycle_views import RegisteredAgentView, StateView
from opspawn.rest.deps import MAX_POSITION, HostDep, IdempotencyKey, known_query
from opspawn.rest.lifecycle_schemas import (
    AgentHistory,
    AgentRegistration,
    Notified,
    RegisteredAgents,
    StateAccepted,
    StateReport,
    TaskResult,
)
from opspawn.rest.problems import Problem
from opspawn.rest.schemas import RunRequest
from opspawn.views import EventView, TaskView

router = APIRouter(prefix="/v1/opscore", tags=["opscore agents"], dependencies=[Depends(known_query)])


@router.get("/agents", operation_id="listRegisteredAgents")
async def list_agents(
    host: HostDep,
    state: AgentState | None = None,
    capability: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> RegisteredAgents:
    """All agents with their states, those of apps and remote ones, newest first. A filtered page may be short."""
    page = await host.registry.find(state=state, capability=capability, limit=limit, cursor=cursor)
    return RegisteredAgents(agents=[RegisteredAgentView.of(*one) for one in page.items], cursor=page.cursor)


@router.post("/agents", operation_id="registerAgent", status_code=201)
async def register_agent(
    request: AgentRegistration, host: HostDep, response: Response, idempotency_key: IdempotencyKey = None
) -> RegisteredAgentView:
    """Register a remote agent, or what is new about one; its state and history stay."""
    id = request.agent_id
    if id is None and idempotency_key is not None:
        check_key("idempotency_key", idempotency_key)
        id = f"a-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:24]}"
    agent = await host.registry.register(
        id,
        name=request.agent_name,
        version=request.version,
        capabilities=request.capabilities,
        contact_endpoint=request.contact_endpoint,
        metadata=request.metadata,
        concurrency=request.concurrency,
    )
    response.headers["Location"] = f"/v1/opscore/agent/{agent.id}"
    return RegisteredAgentView.of(agent)


@router.get("/agent/{agentId}", operation_id="getRegisteredAgent")
async def get_agent(agentId: str, host: HostDep) -> RegisteredAgentView:
    """One agent."""
    return RegisteredAgentView.of(await host.registry.get(agentId))


@router.delete("/agent/{agentId}", operation_id="deregisterAgent", status_code=204)
async def deregister_agent(agentId: str, host: HostDep) -> None:
    """Forget a remote agent; its history stays, and its tasks wait until it is registered again."""
    await host.registry.deregister(agentId)


@router.get("/agent/{agentId}/history", operation_id="getAgentHistory")
async def get_history(
    agentId: str,
    host: HostDep,
    after: Annotated[int, Query(ge=0, le=MAX_POSITION)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> AgentHistory:
    """What was reported of an agent, oldest first, after a position."""
    events = await host.registry.history(agentId, limit=limit, position=after)
    return AgentHistory(events=[EventView.of(event) for event in events])


@router.post("/agent/{agentId}/state", operation_id="setAgentState", status_code=202)
async def set_state(agentId: str, request: StateReport, host: HostDep) -> StateAccepted:
    """Report an agent's state. One that does not follow from the last is refused (409); an older one is history."""
    if request.agent_id is not None and request.agent_id != agentId:
        raise Problem(400, "agent-mismatch", "Agent ID in path does not match agent ID in payload.")
    try:
        status = await host.set_state(agentId, request.state, request.details, request.timestamp)
    except InvalidTransition as refusal:  # who reports it may not read the answer
        logger.bind(agent=agentId, error_type=refusal.error_type).warning("{}", refusal.message)
        raise
    return StateAccepted(agent_id=agentId, state=str(status.state), late=status.late)


@router.get("/agent/{agentId}/state", operation_id="getAgentState")
async def get_state(agentId: str, host: HostDep) -> StateView:
    """What an agent does now."""
    return StateView.of(await host.registry.get_state(agentId))


@router.post("/agent/{agentId}/resume", operation_id="resumeAgent", status_code=202)
async def resume_agent(agentId: str, host: HostDep) -> StateView:
    """Lift a pause, and of an agent of an app an error."""
    return StateView.of(await host.registry.resume(agentId))


@router.post(
    "/agent/{agentId}/tasks",
    operation_id="dispatchToAgent",
    status_code=202,
    responses={200: {"model": TaskView, "description": "It ended within `waitS`."}},
)
async def dispatch_to_agent(
    agentId: str, request: RunRequest, host: HostDep, response: Response, idempotency_key: IdempotencyKey = None
) -> TaskView:
    """Give a task to an agent, of the app or remote. One that is paused or in error gets it when it is no longer."""
    options = request.options(idempotency_key=idempotency_key)
    task = await host.dispatch(await host.handler_of(agentId), request.input, wait_s=request.wait_s, **options)
    response.status_code = 200 if task.state.terminal else 202
    response.headers["Location"] = f"/v1/opscore/tasks/{task.id}"
    return TaskView.of(task)


@router.post("/tasks/{id}/result", operation_id="reportResult", status_code=202)
async def report_result(id: str, request: TaskResult, host: HostDep) -> TaskView:
    """Hand in what a remote agent made of its task. A second report changes nothing."""
    task = await host.report_result(id, result=request.result, error=request.error, agent=request.agent_id)
    return TaskView.of(task)


@router.post(
    "/internal/agent/notify",
    operation_id="notifyAgent",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["event_type", "agent_details"],
                        "properties": {
                            "event_type": {"type": "string", "enum": ["REGISTER", "DEREGISTER"]},
                            "agent_details": {
                                "type": "object",
                                "required": ["agentId"],
                                "properties": {
                                    "agentId": {"type": "string"},
                                    "agentName": {"type": "string"},
                                    "version": {"type": "string"},
                                    "capabilities": {"type": "array", "items": {"type": "string"}},
                                    "contactEndpoint": {"type": "string", "format": "uri"},
                                    "metadata": {"type": "object"},
                                },
                            },
                        },
                    }
                }
            },
        }
    },
)
async def notify(request: Request, host: HostDep) -> Notified:
    """The webhook of agentkit: an agent was registered, or deregistered.

    Signed by `X-AgentKit-Timestamp` and `X-AgentKit-Signature`: hex HMAC-SHA256 of timestamp, a dot, and the body, with
    the secret of `agents.webhook_secret`. Without a secret, with another signature, more than five minutes off, or a
    second time it is refused (403).
    """
    return Notified(message=await host.notify(dict(request.headers), await request.body()))
