"""The checker names each broken promise, and finds nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.contracts.events import Event, NewEvent
from opspawn.contracts.store import INLINE_BYTES, Append, Hold, Record, Task, TaskState
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing import assert_invariants
from opspawn.testing.invariants import RULES, InvariantsBroken, Violation, find_violations, read_everything
from opspawn.testing.store_promises import a_task, claim, commit, create

START = datetime(2026, 1, 1, tzinfo=UTC)


class Tale:
    """Events of tasks, written one after the other, a second apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.tokens: dict[str, int] = {}

    def add(self, type: str, task: str = "t", after_s: float = 1.0, **data: Any) -> Tale:
        time = (self.events[-1].time if self.events else START) + timedelta(seconds=after_s)
        self.events.append(Event(len(self.events) + 1, task, time, type, data))
        return self

    def accepted(self, task: str = "t", **data: Any) -> Tale:
        return self.add("task.accepted", task, handler="function/work", input=None, **data)

    def claimed(self, task: str = "t", deliveries: int = 0, **more: Any) -> Tale:
        self.tokens[task] = self.tokens.get(task, 0) + 2
        return self.add("task.claimed", task, **{"token": self.tokens[task], "deliveries": deliveries, **more})

    def fired(self) -> Tale:
        data = {"schedule": "s", "due": "2026-01-01T00:00:00.000000Z", "task": "t"}
        self.events.append(Event(len(self.events) + 1, None, self.events[-1].time, "schedule.fired", data))
        return self

    def begun(self, task: str = "t") -> Tale:
        return self.accepted(task).claimed(task)

    def step(self, type: str, key: str = "a", task: str = "t", **more: Any) -> Tale:
        return self.add(type, task, key=key, kind="step", name=key, digest="", **more)


def record(state: TaskState = TaskState.SUCCEEDED, id: str = "t", **more: Any) -> Task:
    return Task(id=id, handler="function/work", root=id, state=state, **{"token": 99, **more})


def rules(tale: Tale, tasks: Sequence[Task] = (), **more: Any) -> list[str]:
    return [violation.rule for violation in find_violations(tasks, tale.events, **more)]


WHOLE = (
    Tale()
    .accepted(delay_s=1.0)
    .claimed()
    .step("step.started")
    .step("step.retry", **{"try": 1}, until=0.0)
    .step("step.started")
    .add("child.spawned", key="c", child="c", name="function/work", digest="")
    .accepted("c")
    .step("step.done")
    .add("task.waiting", **{"for": "children"})
    .claimed("c")
    .add("task.released", "c")
    .claimed("c")
    .add("task.succeeded", "c")
    .add("child.ended", child="c", state="succeeded", result=None, error=None)
    .claimed()
    .claimed(deliveries=1)
    .step("step.failed", key="b", error={})
    .add("task.retry", error={}, attempt=1, delay_s=2.0, key="b")
    .claimed(after_s=2.0)
    .step("step.done", key="b")
    .step("step.started", key="pay")
    .add("task.in_doubt", error={})
    .add("task.resolved", key="pay", outcome="again")
    .claimed()
    .step("step.started", key="pay")
    .step("step.done", key="pay")
    .add("task.succeeded")
)


def test_a_run_with_retries_doubts_children_and_a_lost_lease_breaks_nothing() -> None:
    tasks = [record(attempt=1, retry={"attempts": 2}), record(id="c", parent="t")]

    assert find_violations(tasks, WHOLE.events, accepted=["t"], drained=True) == []


BROKEN: list[tuple[str, Tale, list[Task], dict[str, Any]]] = [
    ("accepted-once", Tale().accepted().accepted(), [], {}),
    ("missing", Tale(), [], {"accepted": ["t"]}),
    ("missing", Tale(), [record()], {}),
    ("missing", Tale().begun().add("task.succeeded"), [], {"drained": True}),
    ("missing", Tale().begun().add("child.spawned", key="c", child="c"), [], {}),
    ("ends-once", Tale().begun().add("task.succeeded").add("task.failed", attempt=1), [], {}),
    ("drained", Tale().begun(), [record(TaskState.RUNNING)], {"drained": True}),
    ("legal-path", Tale().add("task.claimed", token=1), [], {}),
    ("legal-path", Tale().accepted().add("task.succeeded"), [], {}),
    ("legal-path", Tale().begun().add("task.resolved", key="a", outcome="again"), [], {}),
    ("agrees", Tale().begun().add("task.cancelled"), [record()], {}),
    ("fenced", Tale().accepted().step("step.done"), [], {}),
    ("fenced", Tale().begun().add("task.waiting").add("timer.set", key="s", until=0.0), [], {}),
    ("fenced", Tale().begun().add("task.released").add("custom.note", key="s", digest=""), [], {}),
    ("tokens-rise", Tale().begun().add("task.released").claimed(token=2), [], {}),
    ("tokens-rise", Tale().begun().add("task.succeeded"), [record(token=1)], {}),
    ("one-holder", Tale().begun().claimed(deliveries=1), [], {"lease_s": 30.0}),
    ("deliveries", Tale().begun().add("task.released").claimed(deliveries=1), [], {}),
    ("deliveries", Tale().begun().claimed(deliveries=2), [], {}),
    ("attempts", Tale().begun().add("task.failed", attempt=2), [], {}),
    ("attempts", Tale().begun().add("task.succeeded"), [record(attempt=1)], {}),
    ("attempts", Tale().begun().add("task.retry", attempt=1).claimed().add("task.failed", attempt=2), [record()], {}),
    ("not-before-due", Tale().accepted(delay_s=5.0).claimed(), [], {}),
    ("not-before-due", Tale().begun().add("task.retry", attempt=1, delay_s=5.0).claimed(), [], {}),
    (
        "not-before-due",
        Tale()
        .begun()
        .add("timer.set", key="s", until=START.timestamp() + 60)
        .add("task.waiting", **{"for": "time"})
        .claimed(),
        [record(TaskState.RUNNING)],
        {},
    ),
    ("one-result", Tale().begun().step("step.done").step("step.failed", error={}), [], {}),
    ("one-result", Tale().begun().step("step.done").step("step.started"), [], {}),
    ("one-result", Tale().begun().add("timer.set", key="s", until=0.0).add("timer.set", key="s", until=0.0), [], {}),
    ("one-result", Tale().begun().add("custom.x", key="s", digest="").add("custom.x", key="s", digest=""), [], {}),
    (
        "one-result",
        Tale()
        .begun()
        .step("step.done")
        .add("task.failed", attempt=1)
        .accepted("u", retry_of="t")
        .claimed("u")
        .step("step.done", task="u"),
        [],
        {},
    ),
    ("once", Tale().begun().step("step.started").claimed(deliveries=1).step("step.started"), [], {}),
    (
        "once",
        Tale()
        .begun()
        .step("step.started")
        .add("task.cancelled")
        .accepted("u", retry_of="t")
        .claimed("u")
        .step("step.started", task="u"),
        [],
        {},
    ),
    (
        "children",
        Tale().begun().accepted("c").add("child.spawned", key="c", child="c").claimed("c").add("task.succeeded", "c"),
        [],
        {},
    ),
    (
        "children",
        Tale()
        .begun()
        .accepted("c")
        .add("child.spawned", key="c", child="c")
        .add("child.ended", child="c", state="failed"),
        [],
        {},
    ),
    ("children", Tale().begun().accepted("c").add("child.spawned", key="c", child="c").add("task.cancelled"), [], {}),
    (
        "places",
        Tale().accepted("u").begun().claimed("u"),
        [record(TaskState.RUNNING, id=id, holds=(Hold("k", 1),)) for id in ("t", "u")],
        {"lease_s": 30.0},
    ),
    (
        "places",
        Tale().accepted("u").begun().add("task.waiting").claimed("u"),
        [record(TaskState.RUNNING, id=id, holds=(Hold("k", 1, "unfinished"),)) for id in ("t", "u")],
        {},
    ),
    ("schedules", Tale().begun().fired().fired(), [], {}),
    ("idempotency", Tale(), [], {"records": [Record("idempotency", "k", {"task": "t"})]}),
]
NAMES = [f"{number}-{case[0]}" for number, case in enumerate(BROKEN)]


@pytest.mark.parametrize(("rule", "tale", "tasks", "more"), BROKEN, ids=NAMES)
def test_a_broken_promise_is_named(rule: str, tale: Tale, tasks: list[Task], more: dict[str, Any]) -> None:
    found = find_violations(tasks, tale.events, **more)

    assert rule in [violation.rule for violation in found]
    assert all(violation.rule in RULES for violation in found)


def test_events_out_of_order_are_named() -> None:
    tale = Tale().begun()

    assert [violation.rule for violation in find_violations([], tale.events[::-1])].count("order") == 1


def test_every_rule_is_tried_here() -> None:
    assert {case[0] for case in BROKEN} | {"order"} == set(RULES)


def test_a_violation_reads_as_a_sentence() -> None:
    tale = Tale().begun().step("step.done").step("step.done")

    with pytest.raises(InvariantsBroken) as caught:
        raise InvariantsBroken(find_violations([], tale.events))

    assert str(caught.value) == (
        "1 promises were broken:\none-result: task t has step.done for the step 'a', which had ended (positions 3, 4)."
    )
    assert caught.value.violations[0] == Violation(
        "one-result", "t", "has step.done for the step 'a', which had ended", [3, 4]
    )


def test_a_request_to_cancel_lets_a_task_start_before_its_time() -> None:
    after = Tale().begun().add("task.retry", attempt=1, delay_s=500.0).add("cancel.requested").claimed()
    while_it_failed = Tale().begun().add("cancel.requested").add("task.retry", attempt=1, delay_s=500.0).claimed()

    assert rules(after) == rules(while_it_failed) == []


def test_a_child_that_ends_does_not_cut_short_a_backoff() -> None:
    tale = Tale().begun().accepted("c").add("child.spawned", key="c", child="c").claimed("c")
    tale.add("task.retry", attempt=1, delay_s=500.0).add("task.succeeded", "c")
    tale.add("child.ended", child="c", state="succeeded").claimed()

    assert rules(tale) == ["not-before-due"]


async def test_events_with_large_data_are_read_whole() -> None:
    """A page shows a stand-in in their place, and the key of the step lies behind it."""
    store = await open_sqlite()
    await create(store, a_task("t"))
    await commit(store, Append("t", NewEvent("task.accepted")))
    await claim(store)
    data = {"key": "k", "kind": "step", "name": "k", "digest": "", "result": "x" * (INLINE_BYTES + 1)}
    await commit(store, Append("t", NewEvent("step.done", data), 1))

    _, events = await read_everything(store)
    await assert_invariants(store)
    await store.aclose()

    assert events[-1].data == data


def test_a_place_is_free_once_its_claim_has_ended_or_its_lease_may_have_run_out() -> None:
    tasks = [record(TaskState.RUNNING, id=id, holds=(Hold("k", 1),)) for id in ("t", "u")]
    given_back = Tale().accepted("u").begun().add("task.waiting").claimed("u")
    frozen = Tale().accepted("u").begun().add("task.accepted", "v", after_s=31.0).claimed("u")

    assert rules(given_back, tasks) == rules(frozen, tasks, lease_s=30.0) == []
