"""Looking after the store over HTTP: what a doctor finds, deleting what is old, a backup."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.schemas import Body
from opspawn.views import Wire

router = APIRouter(prefix="/v1/opscore", tags=["opscore"], dependencies=[Depends(known_query)])


class FindingView(Wire):
    """One thing that was looked at."""

    part: str = Field(description="What it is about: store, workers, plugins, ...")
    level: Literal["ok", "warning", "error"]
    what: str
    remedy: str | None


class Diagnosis(Wire):
    """What a doctor found."""

    errors: int
    warnings: int
    findings: list[FindingView]


class PruneRequest(Body):
    """What is old; without any of it, the settings `[retention]` say so."""

    older_than: str | None = Field(None, description='What ended longer ago than this, e.g. "30d".')
    keep_at_most: int | None = Field(None, ge=0, description="Keep only so many trees that have ended, the newest.")
    dry_run: bool = Field(True, description="Only say what would be deleted. Set it to false to delete.")


class PrunedView(Wire):
    """What was deleted, or would be."""

    trees: int
    tasks: int
    records: int = Field(description="Questions, signals, keys, sessions and definitions.")
    held: int = Field(description="Old trees that stay, since a later retry builds on them.")
    events: int = Field(description="Those that belong to no task.")
    dry_run: bool


@router.get("/doctor", operation_id="examine")
async def doctor(host: HostDep) -> Diagnosis:
    """Look at everything and say what is wrong, each with a remedy. Reads the whole database; mends nothing."""
    found = [FindingView(part=part, **asdict(finding)) for part, finding in await host.examine()]
    levels = [finding.level for finding in found]
    return Diagnosis(errors=levels.count("error"), warnings=levels.count("warning"), findings=found)


@router.post("/store/prune", operation_id="prune")
async def prune(host: HostDep, request: PruneRequest | None = None) -> PrunedView:
    """Delete trees of tasks that ended long ago, with all that belongs to them; by default only say which.

    A tree of which anything still goes on is never touched.
    """
    asked = request or PruneRequest.model_validate({})
    done = await host.prune(older_than=asked.older_than, keep_at_most=asked.keep_at_most, dry_run=asked.dry_run)
    return PrunedView(**asdict(done), dry_run=asked.dry_run)


@router.post(
    "/store/backup",
    operation_id="backup",
    response_class=Response,
    responses={200: {"content": {"application/vnd.sqlite3": {}}, "description": "The copy."}},
)
async def backup(host: HostDep) -> Response:
    """Copy everything that is committed now, while work goes on, and answer with the copy."""
    folder = tempfile.TemporaryDirectory(prefix="opspawn-backup-")
    path = Path(folder.name) / "backup.db"
    try:
        await host.backup(str(path))
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path, media_type="application/vnd.sqlite3", filename="backup.db", background=BackgroundTask(folder.cleanup)
    )
