"""The extension `io.modelcontextprotocol/tasks` on the wire: what the SDK leaves to its users."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from mcp.types import Request, RequestParams, Result
from pydantic import ConfigDict, Field

IDENTIFIER = "io.modelcontextprotocol/tasks"
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]


class _State(Result):
    model_config = ConfigDict(populate_by_name=True)

    task_id: str = Field(alias="taskId", min_length=1, max_length=1024)
    status: Status
    status_message: str | None = Field(default=None, alias="statusMessage")
    ttl_ms: int | None = Field(default=None, alias="ttlMs")
    poll_interval_ms: int | None = Field(default=None, alias="pollIntervalMs")


class CreatedTask(_State):
    """The answer to a call that became a task."""

    result_type: Literal["task"] = Field(alias="resultType")


class TaskState(_State):
    """How a task is; with its result, its error, or what it needs to know."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = Field(default=None, alias="inputRequests")


class TaskParams(RequestParams):
    """Which task."""

    model_config = ConfigDict(populate_by_name=True)

    task_id: str = Field(serialization_alias="taskId")


class AnswerParams(TaskParams):
    """Which task, and what it needed to know, by the names of its requests."""

    input_responses: dict[str, Any] = Field(serialization_alias="inputResponses")


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    """How is it?"""

    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams


class CancelTask(Request[TaskParams, Literal["tasks/cancel"]]):
    """End it."""

    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: TaskParams


class AnswerTask(Request[AnswerParams, Literal["tasks/update"]]):
    """Here is what it needed to know."""

    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/update"] = "tasks/update"
    params: AnswerParams
