"""Accepting work: durably, and once for each idempotency key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from opspawn.agentkit.digests import digest
from opspawn.agentkit.parts import plain_parts
from opspawn.agentkit.retries import check_retry
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.run import Retry
from opspawn.contracts.store import Operation, Put, Receipt, Record, Store, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput
from opspawn.ops import transitions
from opspawn.ops.desk import Desk, as_json
from opspawn.ops.ids import new_id
from opspawn.ops.plans import ONCE, Plan, sample_input


class Accepts(Protocol):
    """Says what a handler takes. Raises: NotFound, InvalidInput."""

    def __call__(self, handler: str, input: Any) -> Any:
        """Return the input to record, e.g. with defaults filled in."""
        ...


class Accepting(Desk):
    """The part of the engine that accepts tasks."""

    def __init__(self, store: Store, waker: Waker, accepts: Accepts, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(store, waker, clock)
        self._accepts = accepts

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
        retry: Retry | None = None,
        fallback: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Task:
        """Accept a task durably and return it. The same key with the same request gives the task of the first time.

        Args:
            handler: "agent/NAME", "workflow/NAME" or "function/NAME".
            input: any JSON that the handler takes.
            priority: a head start of 60 s per unit. delay_s: earliest start, in seconds from now.
            timeout_s: for one attempt of the whole task. retry: for the whole task; None tries once, beside the retries
            of its steps.
            fallback: the handler that is asked when no attempt is left. It gets `{"input": ..., "error": {...}}`, and
            its result becomes the task's; if it fails, too, the task fails with both errors.

        Raises:
            NotFound: no such handler, or fallback. InvalidInput: the input does not fit. IdempotencyMismatch: the key
            was used otherwise.
        """
        check_retry(retry)
        plain = plain_json(handler, input)
        checked = self._accepts(handler, plain)
        self._check_fallback(fallback, plain)
        id = id or new_id()
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
            retry=Plan(retry or ONCE, fallback).to_json(),
            labels=dict(labels or {}),
        )
        operations = transitions.accept(task, delay_s)
        if idempotency_key is not None:
            asked = digest(
                [handler, plain, agent, session, priority, queue, delay_s, timeout_s, task.retry, dict(task.labels)]
            )
            return await self._accept_once(task, operations, delay_s, idempotency_key, asked)
        return _accepted(task, await self._commit(operations, queue), delay_s)

    def _check_fallback(self, fallback: str | None, input: Any) -> None:
        if fallback is None:
            return
        try:
            self._accepts(fallback, sample_input(input))
        except InvalidInput as error:
            raise InvalidInput(
                f"The fallback {fallback!r} cannot take over: {error.message}",
                faults=error.faults,
                remedy="A fallback gets 'input' and 'error'.",
            ) from error

    async def _accept_once(
        self, task: Task, operations: Sequence[Operation], delay_s: float, key: str, asked: str
    ) -> Task:
        mark = Put(Record("idempotency", key, {"task": task.id, "digest": asked}), expect=0)
        try:
            return _accepted(task, await self._commit([mark, *operations], task.queue), delay_s)
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


def _accepted(task: Task, receipt: Receipt, delay_s: float) -> Task:
    """The task as the commit left it."""
    now = receipt.time
    return replace(task, version=1, created=now, updated=now, due=now + timedelta(seconds=delay_s))


def plain_json(handler: str, input: Any) -> Any:
    """The input of a handler as plain JSON data. Raises: InvalidInput."""
    return as_json(f"The input of {handler!r}", plain_parts(input))
