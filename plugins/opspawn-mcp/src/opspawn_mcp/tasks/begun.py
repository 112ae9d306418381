"""A call that became a task: how the SDK tells it, and how it is noted in the journal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.types import CallToolResult

from opspawn.contracts.tool import CallNotes
from opspawn_mcp.tasks.wire import IDENTIFIER, CreatedTask

_NOTE = "task"


@dataclass(frozen=True, slots=True)
class Begun:
    """A task at a server. `since` is when it began, in epoch seconds; `ttl_s` how long it is kept, if that is told."""

    id: str
    since: float
    ttl_s: float | None = None
    poll_s: float | None = None

    def to_note(self) -> dict[str, Any]:
        """As it is noted."""
        return {"mcp": _NOTE, "id": self.id, "since": self.since, "ttl_s": self.ttl_s, "poll_s": self.poll_s}


#: What is noted once nothing is left of a task: a call that is made again is sent again.
OVER = {"mcp": "task-over"}


def begun_in(notes: CallNotes | None) -> Begun | None:
    """The task that a call has become, by its notes; None where there is none, or nothing left of it."""
    for note in reversed(notes.read() if notes is not None else ()):
        if note == OVER:
            return None
        if note.get("mcp") == _NOTE:
            return Begun(note["id"], note["since"], note["ttl_s"], note["poll_s"])
    return None


class TaskBegun(Exception):
    """The server answered a call with a task; raised through the SDK, whose call is over with it."""

    def __init__(self, task: Begun) -> None:
        super().__init__(task.id)
        self.task = task


class TasksExtension(ClientExtension):
    """Tells servers that a call may become a task, and hands the task on."""

    identifier = IDENTIFIER

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """The one answer that is ours."""
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=_hand_on)]


async def _hand_on(created: CreatedTask, context: ClaimContext) -> CallToolResult:
    ttl, poll = created.ttl_ms, created.poll_interval_ms
    raise TaskBegun(
        Begun(
            created.task_id,
            time.time(),
            None if ttl is None else ttl / 1000,
            None if poll is None else poll / 1000,
        )
    )
