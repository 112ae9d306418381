"""Approvals over HTTP: what runs want to do and may not without a human's leave."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from opspawn.contracts import store
from opspawn.errors import NotFound
from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.schemas import Body
from opspawn.views import QuestionView, Wire

router = APIRouter(prefix="/v1/opscore/approvals", tags=["opscore"], dependencies=[Depends(known_query)])


class Approvals(Wire):
    """A page of approvals, newest first."""

    approvals: list[QuestionView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class ApproveRequest(Body):
    """Allow a call."""

    by: str | None = Field(None, max_length=200, description="Who decides, for the record.")
    arguments: dict[str, Any] | None = Field(None, description="To be used instead of those that were asked about.")
    always: bool = Field(False, description="Whether the policy need not ask about this tool again in this run.")


class DenyRequest(Body):
    """Refuse a call."""

    by: str | None = Field(None, max_length=200, description="Who decides, for the record.")
    reason: str = Field("", max_length=4000, description="Told to the model.")


@router.get("", operation_id="listApprovals")
async def list_approvals(
    host: HostDep,
    state: Literal["open", "answered", "expired", "withdrawn", "any"] = "open",
    task: str | None = None,
    root: str | None = None,
    to: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Approvals:
    """Approvals over all tasks, newest first. `root` finds those of a whole tree."""
    asked = {"state": None if state == "any" else state, "task": task, "root": root, "to": to}
    where = {name: value for name, value in asked.items() if value is not None}
    page = await host.approvals(store.Query(where=where, limit=limit, cursor=cursor))
    return Approvals(approvals=[QuestionView.of(one) for one in page.items], cursor=page.cursor)


@router.get("/{id}", operation_id="getApproval")
async def get_approval(id: str, host: HostDep) -> QuestionView:
    """One approval, with the exact call."""
    with suppress(NotFound):
        asked = await host.question(id)
        if asked.question.kind == "approval":
            return QuestionView.of(asked)
    raise NotFound("approval", id, remedy="See 'opspawn approvals list'.")


@router.post("/{id}/approve", operation_id="approve")
async def approve(id: str, request: ApproveRequest, host: HostDep) -> QuestionView:
    """Allow the call. The first decision counts; a later one is refused with 409."""
    decided = await host.approve(id, arguments=request.arguments, always=request.always, by=request.by)
    return QuestionView.of(decided)


@router.post("/{id}/deny", operation_id="deny")
async def deny(id: str, request: DenyRequest, host: HostDep) -> QuestionView:
    """Refuse the call; the model is told the reason."""
    return QuestionView.of(await host.deny(id, request.reason, by=request.by))
