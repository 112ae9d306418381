"""ops-core over HTTP: workflows and tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from opspawn.contracts import store
from opspawn.contracts.store import TaskState
from opspawn.contracts.transport import DeadQuery
from opspawn.ops.answers import answered
from opspawn.rest.deps import MAX_POSITION, HostDep, IdempotencyKey, known_query
from opspawn.rest.problems import invalid_request
from opspawn.rest.schemas import (
    Events,
    FallbackRequest,
    ResolveRequest,
    Retried,
    RetryAllRequest,
    RetryRequest,
    TaskRequest,
    Tasks,
    WorkflowRequest,
    Workflows,
    WorkflowStarted,
)
from opspawn.views import EventView, TaskView

router = APIRouter(prefix="/v1/opscore", tags=["opscore"], dependencies=[Depends(known_query)])


@router.get("/workflows", operation_id="listWorkflows")
async def list_workflows(host: HostDep) -> Workflows:
    """The workflows of the app."""
    return Workflows(workflows=list(host.workflows()))


@router.post("/agent/{agentId}/workflow", operation_id="triggerWorkflow", status_code=202)
async def trigger_workflow(
    agentId: str,
    request: WorkflowRequest,
    host: HostDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> WorkflowStarted:
    """Start a workflow on behalf of an agent."""
    inputs = request.initial_payload or {}
    options = request.options(agent=agentId, idempotency_key=idempotency_key)
    if request.workflow_definition is not None:
        task = await host.submit_definition(request.workflow_definition, inputs, **options)
        name = str(request.workflow_definition.get("name") or request.workflow_definition.get("id"))
    else:
        name = str(request.workflow_definition_id)
        task = await host.submit(f"workflow/{name}", inputs, **options)
    if request.wait_s:
        task = await host.wait(task.id, request.wait_s)
    response.headers["Location"] = f"/v1/opscore/tasks/{task.id}"
    return WorkflowStarted(
        session_id=task.session or "", workflow_id=name, task_id=task.id, state=str(task.state), result=task.result
    )


@router.post(
    "/tasks",
    operation_id="dispatchTask",
    status_code=202,
    responses={200: {"model": TaskView, "description": "It ended within `waitS`."}},
)
async def dispatch_task(
    request: TaskRequest, host: HostDep, response: Response, idempotency_key: IdempotencyKey = None
) -> TaskView:
    """Start a task of any handler. Answers 202 with the task, or 200 if it ended within `waitS`."""
    options = request.options(queue=request.queue, idempotency_key=idempotency_key)
    task = await host.dispatch(request.handler, request.input, wait_s=request.wait_s, **options)
    response.status_code = 200 if task.state.terminal else 202
    response.headers["Location"] = f"/v1/opscore/tasks/{task.id}"
    return TaskView.of(task)


@router.get("/tasks", operation_id="listTasks")
async def list_tasks(
    host: HostDep,
    state: TaskState | None = None,
    agent: str | None = None,
    handler: str | None = None,
    session: str | None = None,
    parent: str | None = None,
    root: str | None = None,
    dead: Annotated[
        bool, Query(description="Only what failed, has no attempt left, and was not retried since.")
    ] = False,
    error_type: Annotated[
        str | None, Query(alias="errorType", description="With dead: only this type of error.")
    ] = None,
    label: Annotated[list[str] | None, Query(description="NAME=VALUE; repeatable, all must match.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Tasks:
    """Tasks, newest first. A page of the dead may be short while its cursor tells of more."""
    if dead:
        _refuse_beside_dead(state=state, session=session, parent=parent, root=root, label=label)
        query = DeadQuery(handler=handler, agent=agent, error_type=error_type, limit=limit, cursor=cursor)
        found = await host.dead(query)
        return Tasks(tasks=[TaskView.of(task) for task in found.items], cursor=found.cursor)
    if error_type is not None:
        raise invalid_request([{"pointer": "query/errorType", "detail": "goes with dead=true only"}])
    asked = {"state": state, "agent": agent, "handler": handler, "session": session, "parent": parent, "root": root}
    where = {field: str(value) for field, value in asked.items() if value is not None}
    page = await host.tasks(store.Query(where=where, labels=_labels(label or []), limit=limit, cursor=cursor))
    return Tasks(tasks=[TaskView.of(task) for task in page.items], cursor=page.cursor)


@router.get("/tasks/{id}", operation_id="getTask")
async def get_task(id: str, host: HostDep) -> TaskView:
    """One task."""
    task = await host.task(id)
    return TaskView.of(task, await answered(host.events, task))


@router.get("/tasks/{id}/journal", operation_id="getJournal")
async def get_journal(id: str, host: HostDep, after: Annotated[int, Query(ge=0, le=MAX_POSITION)] = 0) -> Events:
    """A task's journal after a position, oldest first."""
    return Events(events=[EventView.of(event) for event in await host.journal(id, after)])


@router.post("/tasks/{id}/cancel", operation_id="cancelTask", status_code=202)
async def cancel_task(id: str, host: HostDep) -> TaskView:
    """Ask for the end of a task, its children first."""
    return TaskView.of(await host.cancel(id))


@router.post("/tasks/retry", operation_id="retryTasks", status_code=202)
async def retry_tasks(request: RetryAllRequest, host: HostDep) -> Retried:
    """Retry the dead that match, newest first; without any filter only if `all` is true. To ask again does nothing
    twice.
    """
    query = DeadQuery(
        handler=request.handler,
        agent=request.agent,
        queue=request.queue,
        error_type=request.error_type,
        ended_after=request.ended_after,
        ended_before=request.ended_before,
    )
    tasks, more = await host.retry_all(
        query,
        everything=request.all_,
        limit=request.limit,
        from_scratch=request.from_scratch,
        retry_count=request.retry_count,
    )
    return Retried(tasks=[TaskView.of(task) for task in tasks], more=more)


@router.post("/tasks/{id}/retry", operation_id="retryTask", status_code=202)
async def retry_task(
    id: str, host: HostDep, request: RetryRequest | None = None, idempotency_key: IdempotencyKey = None
) -> TaskView:
    """Run a failed or cancelled task again, as a new task that keeps what succeeded; let a paused one go on."""
    asked = request or RetryRequest.model_validate({})
    task = await host.retry(id, asked.retry_count, from_scratch=asked.from_scratch, idempotency_key=idempotency_key)
    return TaskView.of(task)


@router.post("/tasks/{id}/fallback", operation_id="fallbackTask", status_code=202)
async def fallback_task(id: str, host: HostDep, request: FallbackRequest | None = None) -> TaskView:
    """Ask another handler about a dead task: a new task, which gets its input and its error. One per task."""
    return TaskView.of(await host.fallback_task(id, None if request is None else request.handler))


@router.post("/tasks/{id}/resolve", operation_id="resolveTask", status_code=202)
async def resolve_task(id: str, request: ResolveRequest, host: HostDep) -> TaskView:
    """Decide whether a step in doubt happened; the task goes on once all its doubts are decided."""
    return TaskView.of(await host.resolve(id, request.outcome, request.result, key=request.key, by=request.by or "api"))


def _refuse_beside_dead(**given: object) -> None:
    """Refuse filters that the list of the dead would leave out silently."""
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise invalid_request([{"pointer": f"query/{name}", "detail": "does not go with dead=true"} for name in names])


def _labels(words: list[str]) -> dict[str, str]:
    labels = dict(word.split("=", 1) for word in words if word.find("=") > 0)
    if wrong := [word for word in words if word.find("=") < 1]:
        raise invalid_request([{"pointer": "query/label", "detail": f"{wrong[0]!r} is not NAME=VALUE"}])
    return labels
