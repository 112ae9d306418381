"""Questions that runs ask humans, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from opspawn.contracts import store
from opspawn.rest.deps import HostDep, known_query
from opspawn.rest.schemas import Body
from opspawn.views import QuestionView, Wire

router = APIRouter(prefix="/v1/opscore/questions", tags=["opscore"], dependencies=[Depends(known_query)])


class Questions(Wire):
    """A page of questions, newest first."""

    questions: list[QuestionView]
    cursor: str | None = Field(description="Give it as ?cursor= for the next page; null at the end.")


class AnswerRequest(Body):
    """Answer a question."""

    value: Any = Field(description="One of the choices, or what fits the schema, or any JSON.")
    by: str | None = Field(None, max_length=200, description="Who answers, for the record.")


@router.get("", operation_id="listQuestions")
async def list_questions(
    host: HostDep,
    state: Literal["open", "answered", "expired", "withdrawn", "any"] = "open",
    task: str | None = None,
    root: str | None = None,
    kind: Literal["question", "approval", "plan"] | None = None,
    to: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Questions:
    """Questions over all tasks, newest first. `root` finds those of a whole tree."""
    asked = {"state": None if state == "any" else state, "task": task, "root": root, "kind": kind, "to": to}
    where = {name: value for name, value in asked.items() if value is not None}
    page = await host.questions(store.Query(where=where, limit=limit, cursor=cursor))
    return Questions(questions=[QuestionView.of(one) for one in page.items], cursor=page.cursor)


@router.get("/{id}", operation_id="getQuestion")
async def get_question(id: str, host: HostDep) -> QuestionView:
    """One question."""
    return QuestionView.of(await host.question(id))


@router.post("/{id}/answer", operation_id="answerQuestion")
async def answer_question(id: str, request: AnswerRequest, host: HostDep) -> QuestionView:
    """Answer a question. The first answer counts; a later one is refused with 409."""
    return QuestionView.of(await host.answer(id, request.value, by=request.by))
