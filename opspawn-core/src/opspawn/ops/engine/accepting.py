"""Accepting work: durably, and once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, Protocol

from opspawn.agentkit.digests import digest
from opspawn.agentkit.retries import LONGEST_SLEEP_S, check_retry
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.ids import check_id, check_key, check_labels
from opspawn.contracts.limit import MAX_LIMITS, Limit, checked_limits
from opspawn.contracts.run import Retry
from opspawn.contracts.store import MAX_PRIORITY, Hold, Operation, Put, Receipt, Record, Store, Task
from opspawn.contracts.waker import Waker
from opspawn.errors import ConfigError, Conflict, IdempotencyMismatch, InvalidInput
from opspawn.ops import transitions
from opspawn.ops.engine.base import Desk, as_json
from opspawn.ops.ids import agent_of, new_id
from opspawn.ops.retry_plans import ONCE, Plan, sample_input
from opspawn.ops.run.journal import Holds

#: How long the name of a queue may be, in characters.
MAX_QUEUE_NAME = 200


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
        _check_ids(id=id, agent=agent, session=session)
        if idempotency_key is not None:
            check_key("idempotency_key", idempotency_key)
        _check_place(queue, priority, labels)
        _check_times(delay_s, timeout_s=timeout_s, idle_timeout_s=idle_timeout_s, deadline_s=deadline_s)
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
            retry=Plan(retry or ONCE, fallback, idle_timeout_s=idle_timeout_s, budget=_plain_budget(budget)).to_json(),
            labels=dict(labels or {}),
            strict=strict,
            holds=self._held(handler, limits),
        )
        operations = [*transitions.accept(task, delay_s, deadline_s), *also(task)]
        if idempotency_key is not None:
            times = [delay_s, timeout_s, deadline_s]
            said = [handler, plain, agent, session, priority, strict, queue, times, task.retry, dict(task.labels)]
            asked = digest([*said, *([[asdict(limit) for limit in limits]] if limits else [])])
            return await self._accept_once(task, operations, idempotency_key, asked)
        return _accepted(task, await self._commit(operations, queue), operations)

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
            return _accepted(task, await self._commit([mark, *operations], task.queue), operations)
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


def _accepted(task: Task, receipt: Receipt, operations: Sequence[Operation]) -> Task:
    """The task as the commit left it."""
    now, put = receipt.time, operations[0]
    assert isinstance(put, Put)
    due = now + timedelta(seconds=put.due_in_s or 0.0)
    deadline = None if put.deadline_in_s is None else now + timedelta(seconds=put.deadline_in_s)
    return replace(task, version=1, created=now, updated=now, due=due, deadline=deadline)


def _check_ids(**given: str | None) -> None:
    """Refuse what stands in no URL. Raises: InvalidInput."""
    for name, value in given.items():
        if value is not None:
            check_id(name, value)


def _plain_budget(budget: Budget | None) -> dict[str, Any] | None:
    """The budget as it is kept. Raises: InvalidInput: it cannot be given to a task."""
    try:
        return None if budget is None else budget.to_json()
    except ConfigError as error:
        raise InvalidInput(error.message, remedy=error.remedy) from error


def _check_place(queue: str, priority: int, labels: Mapping[str, str] | None) -> None:
    """Refuse what nobody would find or take. Raises: InvalidInput."""
    if not isinstance(queue, str) or not 1 <= len(queue) <= MAX_QUEUE_NAME:
        raise InvalidInput(f"is {queue!r}; a text of 1 to {MAX_QUEUE_NAME} characters is meant.", argument="queue")
    if type(priority) is not int or not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        words = f"is {priority!r}; a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY} is meant."
        raise InvalidInput(words, argument="priority")
    if labels is not None:
        check_labels(labels)


def _check_times(delay_s: float, **limits: float | None) -> None:
    """Refuse what is no time. Raises: InvalidInput."""
    if not isinstance(delay_s, int | float) or not 0 <= delay_s <= LONGEST_SLEEP_S:
        raise InvalidInput(f"is {delay_s!r}; seconds from 0 to 100 years are meant.", argument="delay_s")
    for name, seconds in limits.items():
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= LONGEST_SLEEP_S):
            raise InvalidInput(f"is {seconds!r}; seconds above 0, at most 100 years, are meant.", argument=name)
    if (deadline_s := limits["deadline_s"]) is not None and delay_s >= deadline_s:
        raise InvalidInput(
            f"A task that starts after {delay_s:g} s cannot end within {deadline_s:g} s.",
            remedy="Give it a later deadline, or less delay.",
        )


def plain_json(handler: str, input: Any) -> Any:
    """The input of a handler as plain JSON data. Raises: InvalidInput."""
    return as_json(f"The input of {handler!r}", input)
