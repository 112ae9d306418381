"""Letting tasks stand still, and go on, with all that is under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opspawn.contracts.store import Operation, Task, TaskState
from opspawn.errors import InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.engine.base import Desk
from opspawn.ops.engine.checks import check_by
from opspawn.ops.pauses import ends_on_request, pause_asked, pause_below, rest_s, resume_below

_STILL = (TaskState.PAUSED, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED)


class Pausing(Desk):
    """The part of the engine that pauses and resumes."""

    async def pause(self, id: str, *, by: str | None = None) -> Task:
        """Let a task stand still until it is resumed, and its children with it: they keep their journals and hold
        nothing.

        One that waits or is queued is paused at once; one that runs when its steps in flight have ended. To pause a
        paused task changes nothing. At its deadline a paused task ends all the same.

        Raises:
            NotFound: no such task. InvalidTransition: it has ended, is being cancelled, or waits for a decision.
            InvalidInput: `by` is no text of at most 200 characters.
        """

        check_by(by)

        def decide(task: Task) -> Sequence[Operation]:
            if task.state is TaskState.PAUSED:
                return []
            if task.state.terminal or task.state is TaskState.IN_DOUBT:
                raise InvalidTransition(f"Task {id} {task.state.words}; there is nothing to pause.")
            return transitions.pause(task, by)

        known = await self.task(id)
        if not known.state.terminal and await ends_on_request(self._store, id):
            raise InvalidTransition(f"Task {id} is about to be cancelled; there is nothing to pause.")
        task = await self._decide(id, decide)
        error = task.error or {}
        if task.state is not TaskState.PAUSED or error.get("type") == "paused":  # and not by a mismatch
            self._ring_for(await pause_below(self._store, id, error.get("with") or id, by, self._clock))
        return task

    async def resume(self, id: str, *, by: str | None = None) -> Task:
        """Let a paused task go on where it was, and what was paused with it; one that is asked to pause and has not
        done it yet just runs on.

        Raises:
            NotFound: no such task. InvalidTransition: it is not paused. InvalidInput: `by` is no text of at most 200
                characters.
        """

        check_by(by)

        def decide(task: Task) -> Sequence[Operation]:
            return transitions.resume(task, by, rest_s(task, self._clock)) if task.state is TaskState.PAUSED else []

        task = await self.task(id)
        asked = task.state not in _STILL and await pause_asked(self._store, id) is not None
        if asked:
            await self._commit(transitions.call_off_pause(task, by), task.queue)
        was_paused = (await self.task(id)).state is TaskState.PAUSED  # it may just have paused itself
        task = await self._decide(id, decide)
        told = await resume_below(self._store, id, id, by, self._clock)
        if not (asked or was_paused or told):
            raise InvalidTransition(f"Task {id} {task.state.words}; only a paused one can be resumed.")
        self._ring_for(told)
        return task

    def _ring_for(self, tasks: Iterable[Task]) -> None:
        for queue in {task.queue for task in tasks}:
            self._waker.ring(queue)
