"""Deciding about work that is accepted: cancel it, try it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opspawn.agentkit.digests import digest
from opspawn.agentkit.retries import MAX_ATTEMPTS
from opspawn.contracts.ids import check_key
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Operation, Put, Record, Task, TaskState
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput, InvalidTransition
from opspawn.ops import transitions
from opspawn.ops.children import cancel_descendants
from opspawn.ops.deadlines import lifetime
from opspawn.ops.engine.pausing import Pausing
from opspawn.ops.retry_plans import Plan, plan_of

#: How often a task may be retried by hand, one generation after another: each one reads the journals before it.
MAX_GENERATIONS = 100
_HALTED = (TaskState.PAUSED, TaskState.IN_DOUBT)


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

        def hand_over(task: Task) -> Sequence[Operation]:
            return transitions.cancel(task) if task.state in _HALTED else []

        task = await self._decide(id, decide)
        if task.state in _HALTED:  # just when it was told; nobody would claim it to hear that
            task = await self._decide(id, hand_over)
        # A parent unwinds its children, but it may wait for a slot which they hold: so they are told right now, too.
        told = await cancel_descendants(self._store, id)
        for queue in {child.queue for child in told}:
            self._waker.ring(queue)
        return await self.task(id) if told else task

    async def retry(
        self,
        id: str,
        retry_count: int | None = None,
        *,
        from_scratch: bool = False,
        idempotency_key: str | None = None,
    ) -> Task:
        """Run an ended task again: a paused one goes on as it is; a failed or cancelled one gets a new generation.

        The new generation is a new task, `retry_of` the old one, which keeps the steps that succeeded and the
        idempotency keys. A task has one next generation: if it was retried before, the answer is that one, or the one
        after it if it has failed by now; so a retry whose answer was lost, or a second click, does nothing twice.

        Args:
            retry_count: how often the new generation may be tried again by itself; None keeps what the task had.
            from_scratch: inherit nothing: every step runs again, `once` effects included, under new idempotency keys.
            idempotency_key: the same key gives the same generation, even if that one has failed meanwhile.

        Raises:
            NotFound: no such task. InvalidTransition: it runs, it succeeded, it is somebody's child, was retried
            another way before, or too often. InvalidInput: `retry_count` makes no sense. IdempotencyMismatch: the key
            was used otherwise.
        """
        if idempotency_key is None:
            return await self._retry(id, retry_count, from_scratch, [])
        check_key("idempotency_key", idempotency_key)
        mark, asked = f"retry:{idempotency_key}", digest([id, retry_count, from_scratch])
        known = await self._store.get("idempotency", mark)
        if known is None:
            try:
                return await self._retry(id, retry_count, from_scratch, [mark, asked])
            except _KeyUsed:
                known = await self._store.get("idempotency", mark)
        if known is None or known.data["digest"] != asked:
            raise IdempotencyMismatch(
                f"The idempotency key {idempotency_key!r} was used before with another request.",
                remedy="Send the same request again, or choose a new key.",
            )
        return await self.task(known.data["task"])

    async def _retry(self, id: str, retry_count: int | None, from_scratch: bool, key: Sequence[str]) -> Task:
        task = await self.task(id)
        while task.state is not TaskState.PAUSED:
            self._check_retry(task)
            fresh = transitions.next_generation(task, _next_plan(task, retry_count, from_scratch))
            accepted = transitions.accept(fresh, deadline_s=lifetime(task))
            if key:
                record = Record("idempotency", key[0], {"task": fresh.id, "digest": key[1]}, fields={"task": fresh.id})
                accepted = [*accepted, Put(record, expect=0)]
            try:
                await self._commit(accepted, fresh.queue)
                return await self.task(fresh.id)
            except Conflict:
                if key and await self._store.get("idempotency", key[0]) is not None:
                    raise _KeyUsed from None
                task = await self.task(fresh.id)
            if not task.state.terminal and task.state is not TaskState.PAUSED:
                if plan_of(task).from_scratch != from_scratch:
                    how = "keeping what succeeded" if from_scratch else "from scratch"
                    raise InvalidTransition(
                        f"Task {task.retry_of} is being retried already, {how}, as {task.id}.",
                        remedy="Wait for its end, or cancel it.",
                    )
                return task
        return await self.resume(task.id)

    def _check_retry(self, task: Task) -> None:
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise InvalidTransition(
                f"Task {task.id} {task.state.words}; only a failed, cancelled or paused task can be retried."
            )
        if task.parent is not None:
            raise InvalidTransition(f"Task {task.id} belongs to {task.root}.", remedy=f"Retry the whole: {task.root}.")
        if plan_of(task).generation >= MAX_GENERATIONS:
            raise InvalidTransition(
                f"Task {task.id} is generation {MAX_GENERATIONS}; there are no more.", remedy="Submit it as a new task."
            )


class _KeyUsed(Exception):
    """Somebody was faster with the same idempotency key."""


def _next_plan(task: Task, retry_count: int | None, from_scratch: bool) -> Plan:
    plan = plan_of(task)
    retry = plan.retry
    if retry_count is not None:
        if isinstance(retry_count, bool) or not isinstance(retry_count, int) or not 0 <= retry_count < MAX_ATTEMPTS:
            raise InvalidInput(f"retry_count is {retry_count!r}.", remedy="Give a whole number from 0 to 999.")
        if isinstance(retry, RetryPolicy):
            retry = replace(retry, attempts=retry_count + 1)
        else:
            retry = {kind: replace(policy, attempts=retry_count + 1) for kind, policy in retry.items()}
    return replace(plan, retry=retry, generation=plan.generation + 1, from_scratch=from_scratch)


def _ended(task: Task) -> str:
    return {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}[str(task.state)]
