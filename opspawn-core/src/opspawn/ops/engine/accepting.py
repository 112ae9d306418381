"""Accepting work: durably, and once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from opspawn.agentkit.digests import digest
from opspawn.agentkit.retries import check_retry
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.ids import check_key
from opspawn.contracts.limit import MAX_LIMITS, Limit, checked_limits
from opspawn.contracts.run import Retry
from opspawn.contracts.store import Hold, Operation, Put, Receipt, Record, Store, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput
from opspawn.ops import transitions
from opspawn.ops.engine.base import Desk, as_json
from opspawn.ops.engine.checks import check_ids, check_place, check_times, check_types, plain_budget, plain_json
from opspawn.ops.ids import agent_of, new_id
from opspawn.ops.retry_plans import ONCE, Plan, sample_input
from opspawn.ops.run.offspring import Holds


class Accepts(Protocol):
    """Says what a handler takes. Raises: NotFound, InvalidInput."""

    def __call__(self, handler: str, input: Any) -> Any:
        """Return the input to record, e.g. with defaults filled in."""
        ...


class Accepting(Desk):
    """The part of the engine that accepts tasks."""

    def __init__(
        self,
        store: Store,
        waker: Waker,
        accepts: Accepts,
        clock: Clock = SYSTEM_CLOCK,
        *,
        holds: Holds = lambda handler: (),
    ) -> None:
        super().__init__(store, waker, clock)
        self._accepts = accepts
        self._holds = holds

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
        strict: bool = False,
        delay_s: float = 0.0,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = None,
        deadline_s: float | None = None,
        retry: Retry | None = None,
        fallback: str | None = None,
        labels: Mapping[str, str] | None = None,
        limits: Sequence[Limit] = (),
        budget: Budget | None = None,
        overrides: Mapping[str, Any] | None = None,
        also: Callable[[Task], Sequence[Operation]] = lambda task: (),
    ) -> Task:
        """Accept a task durably and return it. The same key with the same request gives the task of the first time.

        Args:
            handler: "agent/NAME", "workflow/NAME" or "function/NAME".
            input: any JSON that the handler takes.
            also: operations to be committed along, once.
            The rest: see `TaskOptions`.

        Raises:
            NotFound: no such handler, or fallback. InvalidInput: the input does not fit, or a number is out
                of its range. IdempotencyMismatch: the key was used otherwise.
        """
        check_retry(retry)
        check_ids(id=id, agent=agent, session=session)
        if idempotency_key is not None:
            check_key("idempotency_key", idempotency_key)
        check_place(queue, priority, labels)
        check_types(strict, fallback, budget)
        check_times(delay_s, timeout_s=timeout_s, idle_timeout_s=idle_timeout_s, deadline_s=deadline_s)
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
            agent=agent or agent_of(handler),
            session=session or f"s-{id.removeprefix('t-')}",
            input=checked,
            timeout_s=timeout_s,
            retry=_plan(retry, fallback, idle_timeout_s, budget, overrides),
            labels=dict(labels or {}),
            strict=strict,
            holds=self._held(handler, limits),
        )
        operations = [*transitions.accept(task, delay_s, deadline_s), *also(task)]
        if idempotency_key is None:
            return _accepted(task, await self._commit(operations, queue, id), operations)
        asked = _request(task, plain, agent, session, [delay_s, timeout_s, deadline_s], limits)
        return await self._accept_once(task, operations, idempotency_key, asked)

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

    def _held(self, handler: str, limits: Sequence[Limit]) -> tuple[Hold, ...]:
        """What a task holds: the stricter where its handler and the caller name the same key."""
        asked = [limit.hold for limit in checked_limits(f"The task of {handler!r}", limits)] if limits else []
        held: dict[str, Hold] = {}
        for hold in (*self._holds(handler), *asked):
            known = held.get(hold.key)
            if known is None or hold.limit < known.limit:
                held[hold.key] = hold
        if len(held) > MAX_LIMITS:
            raise InvalidInput(f"A task of {handler!r} has {len(held)} limits.", remedy=f"{MAX_LIMITS} are the most.")
        return tuple(held.values())

    async def _accept_once(self, task: Task, operations: Sequence[Operation], key: str, asked: str) -> Task:
        mark = Put(Record("idempotency", key, {"task": task.id, "digest": asked}, fields={"task": task.id}), expect=0)
        try:
            return _accepted(task, await self._commit([mark, *operations], task.queue, task.id), operations)
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


def _plan(
    retry: Retry | None,
    fallback: str | None,
    idle_timeout_s: float | None,
    budget: Budget | None,
    overrides: Mapping[str, Any] | None,
) -> dict[str, Any] | None:
    """What is kept of what becomes of a task. Raises: InvalidInput."""
    changed = None if overrides is None else as_json("The overrides", dict(overrides))
    kept = Plan(retry or ONCE, fallback, idle_timeout_s=idle_timeout_s, budget=plain_budget(budget), overrides=changed)
    return kept.to_json()


def _request(
    task: Task,
    input: Any,
    agent: str | None,
    session: str | None,
    times: Sequence[float | None],
    limits: Sequence[Limit],
) -> str:
    """A digest of what a caller asked for, as they said it."""
    said = [task.handler, input, agent, session, task.priority, task.strict, task.queue, times, task.retry]
    return digest([*said, dict(task.labels), *([[asdict(limit) for limit in limits]] if limits else [])])


def _accepted(task: Task, receipt: Receipt, operations: Sequence[Operation]) -> Task:
    """The task as the commit left it."""
    now, put = receipt.time, operations[0]
    assert isinstance(put, Put)
    due = now + timedelta(seconds=put.due_in_s or 0.0)
    deadline = None if put.deadline_in_s is None else now + timedelta(seconds=put.deadline_in_s)
    return task.but(version=1, created=now, updated=now, due=due, deadline=deadline)
