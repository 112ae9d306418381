"""Deciding about work that is accepted: cancel it, try it again."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.contracts.store import Operation, Task, TaskState
from opspawn.errors import Conflict, InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.children import cancel_descendants
from opspawn.ops.deadlines import lifetime
from opspawn.ops.pausing import Pausing


class Deciding(Pausing):
    """The part of the engine that decides about tasks."""

    async def cancel(self, id: str) -> Task:
        """Ask for the end of a task; one that never started ends at once, any other is unwound, children first.

        Raises:
            NotFound: no such task. InvalidTransition: it has ended already.
        """

        def decide(task: Task) -> Sequence[Operation]:
            if task.state.terminal:
                raise InvalidTransition(f"Task {id} has already {_ended(task)}.", remedy="There is nothing to cancel.")
            return transitions.cancel(task)

        task = await self._decide(id, decide)
        # A parent unwinds its children, but it may wait for a slot which they hold: so they are told right now, too.
        told = await cancel_descendants(self._store, id)
        for queue in {child.queue for child in told}:
            self._waker.ring(queue)
        return await self.task(id) if told else task

    async def retry(self, id: str) -> Task:
        """Run an ended task again: a paused one goes on as it is; a failed or cancelled one gets a new generation.

        The new generation is a new task, `retry_of` the old one, which keeps the steps that succeeded and the
        idempotency keys. A task has one next generation: if it was retried before, the answer is that one, or the one
        after it if it has failed by now; so a retry whose answer was lost, or a second click, does nothing twice.

        Raises:
            NotFound: no such task. InvalidTransition: it runs, it succeeded, or it is somebody's child.
        """
        task = await self.task(id)
        while task.state is not TaskState.PAUSED:
            self._check_retry(task)
            fresh = transitions.next_generation(task)
            try:
                await self._commit(transitions.accept(fresh, deadline_s=lifetime(task)), fresh.queue)
                return await self.task(fresh.id)
            except Conflict:
                task = await self.task(fresh.id)
            if not task.state.terminal and task.state is not TaskState.PAUSED:
                return task
        return await self.resume(task.id)

    def _check_retry(self, task: Task) -> None:
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise InvalidTransition(
                f"Task {task.id} is {task.state}; only a failed, cancelled or paused task can be retried."
            )
        if task.parent is not None:
            raise InvalidTransition(f"Task {task.id} belongs to {task.root}.", remedy=f"Retry the whole: {task.root}.")


def _ended(task: Task) -> str:
    return {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}[str(task.state)]
