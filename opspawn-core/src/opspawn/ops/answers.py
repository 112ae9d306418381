"""How the agent of a task ended, as its journal says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Task

Events = Callable[[EventQuery], Awaitable[Sequence[Event]]]


async def answered(events: Events, task: Task) -> Mapping[str, Any] | None:
    """The reason and usage of an agent's run that has ended; None for others. `events` asks the store."""
    if not task.state.terminal or not task.handler.startswith("agent/"):
        return None
    found = await events(EventQuery(task=task.id, types=("agent.answered",), newest=True, limit=1))
    return found[-1].data if found else None
