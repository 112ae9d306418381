"""What callers do with durable work: accept it, wait for it, cancel, retry, resolve, read. The running of it is the
`Worker`'s.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Protocol
from uuid import uuid4

from loguru import logger
from pydantic_core import PydanticSerializationError, to_jsonable_python

from opspawn.agentkit.codec import result_to_json
from opspawn.agentkit.digests import digest
from opspawn.agentkit.plain import as_text
from opspawn.agentkit.plain import plain_json as as_json
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, NewEvent, TaskDelta
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Append, Batch, Operation, Page, Put, Query, Record, Store, Task, TaskState
from opspawn.contracts.tool import ToolResult
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.ops import transitions
from opspawn.ops.children import cancel_descendants
from opspawn.ops.sizes import refuse_oversize

#: Task states in which a caller that waits gets its answer: the end, or a halt that only a human can lift.
SETTLED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PAUSED, TaskState.IN_DOUBT})
_TELLING = {f"task.{state}" for state in SETTLED}
_RACES = 10
#: A caller that waits is told by the tail of events; it looks for itself this often too, in seconds.
LOOK_AGAIN_S = 1.0


class Accepts(Protocol):
    """Says what a handler takes. Raises: NotFound, InvalidInput."""

    def __call__(self, handler: str, input: Any) -> Any:
        """Return the input to record, e.g. with defaults filled in."""
        ...


class Engine:
    """Durable work on a store. `accepts` checks handler and input before anything is recorded."""

    def __init__(self, store: Store, waker: Waker, accepts: Accepts, clock: Clock = SYSTEM_CLOCK) -> None:
        self._store = store
        self._waker = waker
        self._accepts = accepts
        self._clock = clock
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._watcher: asyncio.Task[None] | None = None

    # -- accepting -----------------------------------------------------------------------------------------------------

    async def submit(
        self,
        handler: str,
        input: Any = None,
        *,
        id: str | None = None,
        queue: str = "default",
        agent: str | None = None,
        session: str | None = None,
        idempotency_key: str | None = None,
        priority: int = 0,
        delay_s: float = 0.0,
        timeout_s: float | None = None,
        retry: RetryPolicy | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Task:
        """Accept a task durably and return it. The same key with the same request gives the task of the first time.

        Args:
            handler: "agent/NAME", "workflow/NAME" or "function/NAME".
            input: any JSON that the handler takes.
            priority: a head start of 60 s per unit. delay_s: earliest start, in seconds from now.
            timeout_s: for one attempt of the whole task. retry: for the whole task; None tries once, beside the retries
            of its steps.

        Raises:
            NotFound: no such handler. InvalidInput: the input does not fit. IdempotencyMismatch: the key was used
            otherwise.
        """
        plain = plain_json(handler, input)
        checked = self._accepts(handler, plain)
        id = id or f"t-{uuid4().hex[:24]}"
        task = Task(
            id=id,
            handler=handler,
            root=id,
            queue=queue,
            priority=priority,
            agent=agent or (handler.removeprefix("agent/") if handler.startswith("agent/") else None),
            session=session or f"s-{id.removeprefix('t-')}",
            input=checked,
            timeout_s=timeout_s,
            retry=asdict(retry) if retry is not None else None,
            labels=dict(labels or {}),
        )
        operations = transitions.accept(task, delay_s)
        if idempotency_key is not None:
            asked = digest(
                [handler, plain, agent, session, priority, queue, delay_s, timeout_s, task.retry, dict(task.labels)]
            )
            return await self._accept_once(task, operations, idempotency_key, asked)
        await self._commit(operations, queue)
        return await self.task(task.id)

    async def _accept_once(self, task: Task, operations: Sequence[Operation], key: str, asked: str) -> Task:
        mark = Put(Record("idempotency", key, {"task": task.id, "digest": asked}), expect=0)
        try:
            await self._commit([mark, *operations], task.queue)
            return await self.task(task.id)
        except Conflict:
            known = await self._store.get("idempotency", key)
            if known is None:
                raise
        if known.data["digest"] != asked:
            raise IdempotencyMismatch(
                f"The idempotency key {key!r} was used before with another request.",
                remedy="Send the same request again, or choose a new key.",
            )
        return await self.task(known.data["task"])

    # -- deciding ------------------------------------------------------------------------------------------------------

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

    async def resolve(self, id: str, outcome: str, result: Any = None) -> Task:
        """Decide on a step in doubt: "happened" (with its result), "again" (do it again) or "fail" (the step failed).

        Raises:
            NotFound: no such task. InvalidTransition: it is not in doubt. InvalidInput: no such outcome, or the result
                is not JSON.
        """
        if outcome not in ("happened", "again", "fail"):
            raise InvalidInput(f"There is no outcome {outcome!r}.", remedy="Choose happened, again or fail.")
        try:
            result = as_json(result)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"The result is not JSON: {error}.", remedy="Give it plain JSON.") from error

        def decide(task: Task) -> Sequence[Operation]:
            if task.state is not TaskState.IN_DOUBT or task.error is None:
                raise InvalidTransition(f"Task {id} is {task.state}, not in doubt; there is nothing to resolve.")
            data: dict[str, Any] = {"key": task.error["key"], "outcome": outcome}
            if outcome == "happened":
                data["result"] = _as_recorded(task.error, result)
            if outcome == "fail":
                words = f"An operator decided that {task.error['name']!r} failed."
                data["error"] = {"type": "tool_error", "class": "ToolError", "message": words}
            back = replace(task, state=TaskState.QUEUED, error=None)
            return [Append(id, NewEvent("task.resolved", data)), Put(back, expect=task.version)]

        return await self._decide(id, decide)

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
                await self._commit(transitions.accept(fresh), fresh.queue)
                return await self.task(fresh.id)
            except Conflict:
                task = await self.task(fresh.id)
            if not task.state.terminal and task.state is not TaskState.PAUSED:
                return task
        return await self._decide(task.id, _resume)

    def _check_retry(self, task: Task) -> None:
        if task.state not in (TaskState.FAILED, TaskState.CANCELLED):
            raise InvalidTransition(
                f"Task {task.id} is {task.state}; only a failed, cancelled or paused task can be retried."
            )
        if task.parent is not None:
            raise InvalidTransition(f"Task {task.id} belongs to {task.root}.", remedy=f"Retry the whole: {task.root}.")

    async def _decide(self, id: str, decide: Callable[[Task], Sequence[Operation]]) -> Task:
        """Read, decide, commit; again when somebody else was faster."""
        for _ in range(_RACES):
            task = await self.task(id)
            operations = decide(task)
            try:
                await self._commit(operations, task.queue)
            except Conflict:
                continue
            return await self.task(id)
        raise InvalidTransition(f"Task {id} changes too fast to decide on.", remedy="Try again.")

    # -- reading -------------------------------------------------------------------------------------------------------

    async def task(self, id: str) -> Task:
        """A task. Raises: NotFound."""
        task = await self._store.get_task(id)
        if task is None:
            raise NotFound("task", id, remedy="See 'opspawn tasks list'.")
        return task

    async def tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first."""
        return await self._store.find_tasks(query)

    async def journal(self, id: str, after: int = 0) -> list[Event]:
        """A task's journal after a position. Raises: NotFound."""
        await self.task(id)
        return await self._store.journal(id, after)

    async def wait(self, id: str, timeout_s: float) -> Task:
        """The task once it has settled (ended, paused or in doubt), or as it stands after `timeout_s` seconds. Raises:
        NotFound.
        """
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch(self._store.tail()))  # from before the first look
        told = asyncio.Event()
        self._waiters.setdefault(id, set()).add(told)
        try:
            deadline = self._clock.monotonic() + timeout_s
            while True:
                told.clear()
                task = await self.task(id)
                left = deadline - self._clock.monotonic()
                if task.state in SETTLED or left <= 0:
                    return task
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), min(left, LOOK_AGAIN_S))
        finally:
            waiting = self._waiters[id]
            waiting.discard(told)
            if not waiting:
                del self._waiters[id]

    async def aclose(self) -> None:
        """Stop watching. Idempotent; the store stays open."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    async def _watch(self, tail: AsyncIterator[Event | TaskDelta]) -> None:
        try:
            async for event in tail:
                if isinstance(event, Event) and event.type in _TELLING:
                    for waiter in self._waiters.get(event.task, ()):
                        waiter.set()
        except StoreError as error:  # until the next call of `wait`, each waiter looks for itself
            logger.bind(error_type=error.error_type).warning("Events cannot be followed: {}", error)

    async def _commit(self, operations: Sequence[Operation], queue: str) -> None:
        try:
            await self._store.commit(Batch(operations))
        except Conflict:
            raise
        except StoreError:
            refuse_oversize(operations)
            raise
        self._waker.ring(queue)


def plain_json(handler: str, input: Any) -> Any:
    """The input of a handler as plain JSON data. Raises: InvalidInput."""
    try:
        plain = to_jsonable_python(input)
        # NaN and half of a surrogate pair would be stored, and then break whoever reads them as JSON.
        json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidInput(f"The input of {handler!r} is not JSON: {error}.", remedy="Give it plain JSON.") from error
    return plain


def _resume(task: Task) -> Sequence[Operation]:
    if task.state is not TaskState.PAUSED:
        raise InvalidTransition(f"Task {task.id} is {task.state}, no longer paused.")
    return [Put(replace(task, state=TaskState.QUEUED, error=None), expect=task.version)]


def _as_recorded(doubt: Mapping[str, Any], result: Any) -> Any:
    """The result in the form in which the step would have recorded it: a call of an agent records a `ToolResult`."""
    if doubt.get("kind") != "act":
        return result
    return result_to_json(ToolResult("", doubt["name"], as_text(result), result))


def _ended(task: Task) -> str:
    return {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}[str(task.state)]
