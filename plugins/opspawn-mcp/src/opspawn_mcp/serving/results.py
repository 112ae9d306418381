"""How a call is answered: the result of its task, its failure, or what it waits for, in words that name the task."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from mcp.types import (
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
)

from opspawn.agentkit.parts import parts_of
from opspawn.contracts.content import Image, Part, Text
from opspawn.contracts.question import AskedQuestion
from opspawn.contracts.store import Task, TaskState
from opspawn.errors import InvalidInput
from opspawn_mcp.serving.offers import RESULT

#: Where a result names its task, for clients that keep such things.
TASK_META = "opspawn/task"


def result_of(task: Task) -> CallToolResult:
    """The answer about a task that has settled, or that goes on."""
    if task.state is TaskState.SUCCEEDED:
        return _given(task)
    error = task.error or {}
    words = f"{error.get('type', 'error')}: {error.get('message', 'no more is known')}"
    if task.state is TaskState.FAILED:
        faults = "".join(f"\n  {fault}" for fault in error.get("faults", ()))
        return told(task, f"It failed. {words} (task {task.id}){faults}", is_error=True)
    if task.state is TaskState.CANCELLED:
        return told(task, f"It was cancelled (task {task.id}).", is_error=True)
    if task.state is TaskState.IN_DOUBT:
        return told(task, f"It stands still: {words} See 'opspawn tasks show {task.id}'.", is_error=True)
    if task.state is TaskState.PAUSED:
        return told(task, f"It is paused. {words} 'opspawn tasks resume {task.id}' lets it go on.", is_error=True)
    return told(task, f"It goes on. Its task is {task.id}; call {RESULT} with it to wait for the result.")


def waits(task: Task, questions: Sequence[AskedQuestion]) -> CallToolResult:
    """The answer about a task that waits for a human whom this client cannot ask."""
    lines = []
    for asked in questions:
        if asked.question.kind == "approval":
            how = f"opspawn approvals approve {asked.id} (or deny)"
        else:
            how = f"opspawn questions answer {asked.id} VALUE"
        lines.append(f"A human must decide: {asked.question.text}\n  {how}")
    lines.append(f"Its task is {task.id}; when that is done, call {RESULT} with it for the result.")
    return told(task, "\n".join(lines))


def told(task: Task, text: str, *, is_error: bool = False) -> CallToolResult:
    """An answer in words about a task."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=is_error, _meta={TASK_META: task.id})


def refused(text: str) -> CallToolResult:
    """An answer to a call that never became a task; the model can mend it."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _given(task: Task) -> CallToolResult:
    value = task.result
    try:
        parts = parts_of(value)
    except InvalidInput:
        parts = ()
    if parts:
        return CallToolResult(content=[_block(part) for part in parts], _meta={TASK_META: task.id})
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    structured = value if isinstance(value, dict) else None
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=structured, _meta={TASK_META: task.id}
    )


def _block(part: Part) -> ContentBlock:
    if isinstance(part, Text):
        return TextContent(type="text", text=part.text)
    data: Any = getattr(part, "data", None)
    url, kind = getattr(part, "url", None), getattr(part, "media_type", "") or "application/octet-stream"
    if data is None:
        return TextContent(type="text", text=f"[{url}]")
    coded = base64.b64encode(data).decode("ascii")
    if isinstance(part, Image):
        return ImageContent(type="image", data=coded, mime_type=kind)
    uri = f"opspawn://file/{getattr(part, 'name', '') or 'unnamed'}"
    return EmbeddedResource(type="resource", resource=BlobResourceContents(uri=uri, mime_type=kind, blob=coded))
