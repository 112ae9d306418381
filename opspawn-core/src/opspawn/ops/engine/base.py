"""What every part of the engine stands on: the store, the waker, and the loop of read, decide, commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from opspawn.agentkit.plain import kept_json
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.store import Batch, Operation, Receipt, Store, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.ops.sizes import refuse_oversize

_RACES = 10


class Desk:
    """Reads and writes tasks for somebody who is not their claimer.

    Attributes:
        coming: called with a queue just before something is committed that may be work in it.
        claimed: whether a worker of this process has a task, by its id.
    """

    def __init__(self, store: Store, waker: Waker, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._waker = waker
        self._clock = clock
        self.coming: Callable[[str], None] = lambda queue: None
        self.claimed: Callable[[str], bool] = lambda task: False

    async def task(self, id: str) -> Task:
        """A task. Raises: NotFound."""
        task = await self._store.get_task(id)
        if task is None:
            raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
        return task

    async def _decide(self, id: str, decide: Callable[[Task], Sequence[Operation]]) -> Task:
        """Read, decide, commit; again when somebody else was faster. Nothing is committed where nothing is decided."""
        for _ in range(_RACES):
            task = await self.task(id)
            operations = decide(task)
            if not operations:
                return task
            try:
                await self._commit(operations, task.queue)
            except Conflict:
                continue
            return await self.task(id)
        raise InvalidTransition(f"Task {id} changes too fast to decide on.", remedy="Try again.")

    async def _commit(self, operations: Sequence[Operation], queue: str, made: str | None = None) -> Receipt:
        """Commit what may be work in a queue, and ring it; `made` is the new task, if it is one."""
        self.coming(queue)
        try:
            receipt = await self._store.commit(Batch(operations))
        except Conflict:
            raise
        except StoreError:
            refuse_oversize(operations)
            raise
        if made is None:
            self._waker.ring(queue)
        elif not self.claimed(made):  # a claim that came with the commit is answered with it: known in a moment
            asyncio.get_running_loop().call_soon(self._ring_unless_claimed, made, queue)
        return receipt

    def _ring_unless_claimed(self, task: str, queue: str) -> None:
        if not self.claimed(task):
            self._waker.ring(queue)


def as_json(what: str, value: Any) -> Any:
    """A value as plain JSON data. Raises: InvalidInput: names `what` it is."""
    try:
        return kept_json(value)[0]
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what} is not JSON: {error}.", remedy="Give it plain JSON.") from error
