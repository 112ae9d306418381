"""Seeing what happens, over HTTP: what a task waits for, and which workers there are."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Depends

from opspawn.rest.deps import HostDep, known_query
from opspawn.views import WhyView, Wire, WorkerView

router = APIRouter(prefix="/v1/opscore", tags=["opscore"], dependencies=[Depends(known_query)])


class Workers(Wire):
    """The workers that told of themselves."""

    workers: list[WorkerView]


@router.get("/tasks/{id}/why", operation_id="whyTask")
async def why_task(id: str, host: HostDep) -> WhyView:
    """What a task waits for, and when that ends."""
    return WhyView.of(await host.why(id))


@router.get("/workers", operation_id="listWorkers")
async def list_workers(host: HostDep) -> Workers:
    """The workers, the newest first: what each takes, and how busy it is."""
    now = datetime.now(UTC)
    return Workers(workers=[WorkerView.of(worker, now) for worker in await host.workers()])
