"""Talking to tasks over HTTP: signals, pause, resume."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import Field

from opspawn.rest.deps import HostDep, IdempotencyKey, known_query
from opspawn.rest.schemas import Body
from opspawn.views import TaskView

router = APIRouter(prefix="/v1/opscore/tasks", tags=["opscore"], dependencies=[Depends(known_query)])


class SignalRequest(Body):
    """Send a signal."""

    name: str = Field(min_length=1, max_length=200, description="What the run waits for.")
    data: Any = Field(None, description="What the run gets.")
    id: str | None = Field(None, description="The same id again is the same signal; the Idempotency-Key by default.")
    by: str | None = Field(None, max_length=200, description="Who sends it, for the record.")


class ByRequest(Body):
    """Decide about a task."""

    by: str | None = Field(None, max_length=200, description="Who decides, for the record.")


@router.post("/{id}/signals", operation_id="signalTask", status_code=202)
async def signal_task(
    id: str, request: SignalRequest, host: HostDep, idempotency_key: IdempotencyKey = None
) -> TaskView:
    """Send a signal to a task, whether it waits for it already or will later."""
    key = idempotency_key if request.id is None else request.id
    return TaskView.of(await host.signal(id, request.name, request.data, id=key, by=request.by))


@router.post("/{id}/pause", operation_id="pauseTask", status_code=202)
async def pause_task(id: str, host: HostDep, request: ByRequest | None = None) -> TaskView:
    """Let a task and all under it stand still: at once what waits, the rest at its next step."""
    return TaskView.of(await host.pause(id, by=request.by if request else None))


@router.post("/{id}/resume", operation_id="resumeTask", status_code=202)
async def resume_task(id: str, host: HostDep, request: ByRequest | None = None) -> TaskView:
    """Let a paused task go on where it was, and what was paused with it."""
    return TaskView.of(await host.resume(id, by=request.by if request else None))
