"""Whether the process lives, and whether it can take work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from opspawn.rest.deps import HostDep

router = APIRouter(tags=["health"])


@router.get("/healthz", operation_id="health")
async def healthz() -> dict[str, str]:
    """The process is alive; looks at nothing else."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="ready", responses={503: {"description": "Not ready, or draining."}})
async def readyz(host: HostDep, response: Response) -> dict[str, Any]:
    """The store answers and the worker runs."""
    told = await host.ready()
    response.status_code = 200 if told["ready"] else 503
    return told
