"""When an attempt has failed: another one, later; or another handler, the fallback; or the end.

A fallback runs as the last child of the task that failed. The task's own code does not run again: it waits for that
child, takes its result as its own, or fails with both errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opspawn.agentkit.budget import amount_of
from opspawn.agentkit.failures import error_to_json, failed_step
from opspawn.agentkit.log import backoff_s
from opspawn.agentkit.retries import asked_s, asks_to_wait, policy_for, postponed
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Operation
from opspawn.errors import InvalidInput, NotFound
from opspawn.ops import transitions
from opspawn.ops.ids import derived_id
from opspawn.ops.retry_plans import NO_PLAN, Plan, fallback_input, plan_of
from opspawn.ops.run.journal import Journal

#: The key of the child that a fallback is.
FALLBACK = "(fallback)"


def try_later(journal: Journal, error: BaseException, wakes_seen: int) -> Sequence[Operation] | None:
    """Another attempt, as the plan of the task says; None if it has none left."""
    task, told = journal.task, error_to_json(error)
    policy, tries = policy_for(plan_of(task).retry, told["type"]), task.attempt + 1
    if policy is None:
        return None
    step, now = failed_step(error), journal.clock.time()
    if step is None and asks_to_wait(error):  # a step has done its own waiting
        later = postponed(error, policy, journal.history.postponements, now)
        if later is not None:
            return transitions.put_off(task, told, later.until - now, later.until, wakes_seen)
    asked = asked_s(error)
    if tries >= policy.attempts or (asked is not None and asked > policy.patience_s):
        return None
    delay = backoff_s(policy, tries) if asked is None else asked
    return transitions.retry_later(task, told, delay, step, wakes_seen)


async def give_up(journal: Journal, error: dict[str, Any], orphans: Sequence[str]) -> Sequence[Operation]:
    """Ask the fallback, or fail; in either case ask the children that are left to end. Raises: Interrupted."""
    *before, last = transitions.request_cancels(orphans) or [[]]
    for batch in before:
        await journal.commit(batch)
    task, fallback = journal.task, plan_of(journal.task).fallback
    if fallback is None:
        return [*last, *transitions.fail(task, error, task.attempt + 1)]
    try:
        input = await journal.accept(fallback, fallback_input(task, error))
    except (InvalidInput, NotFound) as refused:
        both = _both(error, fallback, None, error_to_json(refused))
        return [*last, *transitions.fail(task, both, task.attempt + 1)]
    loan = journal.what_is_left()
    plan = NO_PLAN if loan is None else Plan(budget=loan.to_json())
    child = journal.offspring.child(FALLBACK, derived_id(task.id, FALLBACK), fallback, input, plan=plan)
    data = {"error": error, "attempt": task.attempt + 1, "handler": fallback, "child": child.id}
    event = NewEvent("task.fallback", data, level="warning", error_type=error["type"])
    spawned: dict[str, Any] = {"key": FALLBACK, "child": child.id, "name": fallback, "digest": ""}
    if loan is not None:
        spawned["lent"] = amount_of(loan).to_json()
    return [
        *last,
        Append(task.id, event, task.token),
        *transitions.spawn(task, child, spawned),
        *transitions.await_fallback(task, error, journal.wakes),
    ]


def after_fallback(journal: Journal) -> Sequence[Operation]:
    """What becomes of a task that has asked its fallback."""
    task, asked = journal.task, journal.history.children[FALLBACK]
    end = journal.history.child_ends.get(asked.child)
    if end is None:
        return transitions.park(task, None, journal.wakes, "fallback")
    if end.ok:
        return transitions.succeed(task, end.result)
    return transitions.fail(task, _both(task.error or {}, asked.name, asked.child, end.error or {}), task.attempt)


def _both(error: dict[str, Any], handler: str, child: str | None, second: dict[str, Any]) -> dict[str, Any]:
    words = f"{error.get('message')} Its fallback {handler} failed, too: {second.get('message')}"
    return {**error, "message": words, "fallback": {"handler": handler, "task": child, "error": second}}
