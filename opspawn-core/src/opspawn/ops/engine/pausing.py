"""Letting tasks stand still, and go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation, Task, TaskState, Wake
from opspawn.errors import InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.engine.base import Desk
from opspawn.ops.run.history import History


class Pausing(Desk):
    """The part of the engine that pauses and resumes."""

    async def pause(self, id: str, *, by: str | None = None) -> Task:
        """Let a task stand still until it is resumed: it keeps its journal and holds nothing; its children go on.

        One that waits or is queued is paused at once; one that runs when its steps in flight have ended. To pause a
        paused task changes nothing.

        Raises:
            NotFound: no such task. InvalidTransition: it has ended, or waits for a decision.
        """

        def decide(task: Task) -> Sequence[Operation]:
            if task.state is TaskState.PAUSED:
                return []
            if task.state.terminal or task.state is TaskState.IN_DOUBT:
                raise InvalidTransition(f"Task {id} {task.state.words}; there is nothing to pause.")
            return transitions.pause(task, by)

        return await self._decide(id, decide)

    async def resume(self, id: str, *, by: str | None = None) -> Task:
        """Let a paused task go on where it was; one that is asked to pause and has not done it yet just runs on.

        Raises:
            NotFound: no such task. InvalidTransition: it is not paused.
        """
        task = await self.task(id)
        if task.state is TaskState.RUNNING and await self._asked_to_pause(id):
            event = NewEvent("task.resumed", {} if by is None else {"by": by})
            await self._commit([Append(id, event), Wake(id)], task.queue)
            return await self.task(id)

        def decide(task: Task) -> Sequence[Operation]:
            if task.state is not TaskState.PAUSED:
                raise InvalidTransition(f"Task {id} {task.state.words}; only a paused one can be resumed.")
            return transitions.resume(task, by, self._left(task))

        return await self._decide(id, decide)

    async def _asked_to_pause(self, id: str) -> bool:
        history = History()
        history.absorb(await self._store.journal(id))
        return history.pause_requested

    def _left(self, task: Task) -> float:
        """How long a paused task had to wait for its earliest start, in seconds from now."""
        due = (task.error or {}).get("due")
        return 0.0 if due is None else max(0.0, datetime.fromisoformat(due).timestamp() - self._clock.time())
