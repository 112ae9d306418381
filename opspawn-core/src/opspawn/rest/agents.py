"""agentkit over HTTP: which agents there are, and running them."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from opspawn.errors import NotFound
from opspawn.ops.answers import answered
from opspawn.rest.deps import HostDep, IdempotencyKey, known_query
from opspawn.rest.schemas import Agents, AgentView, RunRequest
from opspawn.views import TaskView

router = APIRouter(prefix="/v1/agents", tags=["agents"], dependencies=[Depends(known_query)])


@router.get("", operation_id="listAgents")
async def list_agents(host: HostDep) -> Agents:
    """All agents of the app."""
    return Agents(agents=[AgentView.of(agent) for agent in host.agents()])


@router.get("/{id}", operation_id="getAgent")
async def get_agent(id: str, host: HostDep) -> AgentView:
    """One agent."""
    for agent in host.agents():
        if agent.name == id:
            return AgentView.of(agent)
    raise NotFound("agent", id, known=[agent.name for agent in host.agents()])


@router.post(
    "/{id}/run",
    operation_id="runAgent",
    status_code=202,
    responses={200: {"model": TaskView, "description": "It ended within `waitS`."}},
)
async def run_agent(
    id: str, request: RunRequest, host: HostDep, response: Response, idempotency_key: IdempotencyKey = None
) -> TaskView:
    """Start a durable run. Answers 202 with the task, or 200 if it ended within `waitS`."""
    options = request.options(idempotency_key=idempotency_key)
    task = await host.dispatch(f"agent/{id}", request.input, wait_s=request.wait_s, **options)
    response.status_code = 200 if task.state.terminal else 202
    response.headers["Location"] = f"/v1/opscore/tasks/{task.id}"
    return TaskView.of(task, await answered(host.events, task))
