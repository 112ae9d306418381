"""The journal of one task, followed event by event: is each event one that may come now?

What is known of a task is in the fields of its `Story`, under the names of the rules that need it. A story is lenient
towards what it does not know: an event of a type that is not in its tables says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opspawn.contracts.events import TOLD_BY_RUNS, Event
from opspawn.contracts.store import TaskState
from opspawn.ops.run.history import RESTING
from opspawn.testing.invariants.violation import Violation

_QUEUED, _RUNNING, _WAITING = TaskState.QUEUED, TaskState.RUNNING, TaskState.WAITING
_PAUSED, _IN_DOUBT = TaskState.PAUSED, TaskState.IN_DOUBT

#: From which states an event may come, and the state after it.
_MOVES: dict[str, tuple[frozenset[TaskState], TaskState]] = {
    "task.claimed": (frozenset({_QUEUED, _WAITING, _RUNNING}), _RUNNING),
    "task.waiting": (frozenset({_RUNNING}), _WAITING),
    "task.released": (frozenset({_RUNNING}), _QUEUED),
    "task.retry": (frozenset({_RUNNING}), _WAITING),
    "task.succeeded": (frozenset({_RUNNING}), TaskState.SUCCEEDED),
    "task.failed": (frozenset({_RUNNING}), TaskState.FAILED),
    "task.cancelled": (frozenset({_RUNNING, _QUEUED, _PAUSED}), TaskState.CANCELLED),
    "task.paused": (frozenset({_RUNNING, _QUEUED, _WAITING}), _PAUSED),
    "task.in_doubt": (frozenset({_RUNNING}), _IN_DOUBT),
    "task.resolved": (frozenset({_IN_DOUBT}), _QUEUED),
}
#: What only the holder of a claim writes.
_FENCED = frozenset(
    {
        *("step.started", "step.done", "step.failed", "step.retry", "timer.set", "child.spawned", "task.progress"),
        *("signal.awaited", "question.asked", "question.expired"),
    }
)
#: How an attempt ends.
_ENDS = frozenset({"task.succeeded", "task.failed", "task.retry"})
#: What tells of a claim, and makes nothing due.
_ASIDE = frozenset({"task.fallback", "task.isolated", "task.blocking"})
#: What wakes a task that waits for it, and lets one between two attempts wait on.
_NEWS = frozenset({"child.ended", "signal.received", "question.answered"})
#: What may come before the run goes on, so that the work it inherits is not complete yet.
_BEFORE_WORK = frozenset({"task.accepted", "task.claimed", "task.released", "cancel.requested", "task.cancelled"})
#: How late a timer may be noted as early: times are kept in microseconds and floats.
_SLACK_S = 0.001


@dataclass(frozen=True, slots=True)
class _Bound:
    """A task may not be claimed before `until`, in epoch seconds; `firm`: whatever its children do meanwhile."""

    cause: Event
    until: float
    firm: bool


@dataclass(slots=True)
class ClaimSpan:
    """A claim: the event that began it and the one that ended it, which for a lost claim is the next claim. `to_end`:
    the task had been asked to end before.
    """

    begin: Event
    to_end: bool
    end: Event | None = None
    lost: bool = False


class Story:
    """What the events of a task have told so far.

    Args:
        before: the generation whose work this task goes on with. timed: whether its attempts end by time.
        deadline: from when on the task may be claimed at any time, to end it, in epoch seconds.
        lease_s: how long leases are, where it is known that none ends earlier.

    Attributes:
        state: after the last event; None before the first. first, last: the events at both ends.
        token, deliveries, claimed: of the last claim. failures: attempts that failed.
        ends: where each step ended, and whether well. intents: `once` effects that began and have no end.
        children: where each child was made, by its id. child_ends: where and how each child reported its end.
        taken: where each signal was taken, and in `answers` where each question ended, by their ids.
        handed_over: whether a halted task was asked to end, so that it may have been queued for that.
        claims: all of them, in order. ended: the terminal event. broken: violations found so far.
    """

    def __init__(
        self,
        task: str,
        *,
        before: Story | None = None,
        timed: bool = False,
        lease_s: float | None = None,
        deadline: float = float("inf"),
    ) -> None:
        self.task = task
        self.state: TaskState | None = None
        self.first: Event | None = None
        self.last: Event | None = None
        self.ended: Event | None = None
        self.token = 0
        self.deliveries = 0
        self.claimed: Event | None = None
        self.failures = 0
        self.ends: dict[str, tuple[int, bool]] = {}
        self.intents: dict[str, int] = {}
        self.children: dict[str, int] = {}
        self.child_ends: dict[str, Event] = {}
        self.taken: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        self.handed_over = self._was_paused = False
        self.claims: list[ClaimSpan] = []
        self._asked_to_end = False
        self.broken: list[Violation] = []
        self._before = before
        self._timed = timed
        self._deadline = deadline
        self._lease_s = lease_s
        self._timers: dict[str, tuple[int, float]] = {}
        self._spawned: dict[str, int] = {}
        self._emitted: dict[str, int] = {}
        self._not_before: _Bound | None = None
        self._news = self._failed_child = self._urgent = False  # since the last claim
        self._called: _Bound | None = None  # too early, by a child that failed: then the task may only wait on
        self._fell_back = False
        self._kept = 0  # lost deliveries that remain counted

    def inherit(self) -> None:
        """Take over what a new generation keeps of the one before: what succeeded, and every doubt."""
        before, self._before = self._before, None
        if before is None:
            return
        before.inherit()
        for key, (_, ok) in before.ends.items():
            if ok:
                self.ends.setdefault(key, (0, True))
        for key in before.intents:
            self.intents.setdefault(key, 0)
        for signal in before.taken:
            self.taken.setdefault(signal, 0)

    def absorb(self, event: Event) -> None:
        """Take in the next event."""
        if self.last is not None and event.position <= self.last.position:
            self._break("order", "has events out of order", self.last, event)
        if self.ended is not None:
            self._break("ends-once", f"has the event {event.type} after its end {self.ended.type}", self.ended, event)
            return
        self.first = self.first or event
        if self._before is not None and event.type not in _BEFORE_WORK:
            self.inherit()
        self._stay_away(event)
        self._move(event)
        reader = _READERS.get(event.type)
        if reader is not None:
            reader(self, event)
        elif event.type.startswith(TOLD_BY_RUNS) and "digest" in event.data:
            self._once_per_key("emits", self._emitted, event)
        self.last = event

    # -- the state machine ---------------------------------------------------------------------------------------------

    def _move(self, event: Event) -> None:
        if event.type == "task.accepted":
            if self.state is not None:
                self._break("accepted-once", "was accepted twice", self.first, event)
            self.state = _QUEUED
            return
        if self.state is None:
            self._break("legal-path", f"begins with {event.type} instead of task.accepted", event)
            self.state = _QUEUED
        if (event.type in _FENCED or event.type.startswith(TOLD_BY_RUNS)) and self.state is not _RUNNING:
            self._break("fenced", f"has the event {event.type} while it is {self.state} and nobody's", self.last, event)
        if event.type in _MOVES:
            sources, target = _decision(event, self.state) or _MOVES[event.type]
            handed_over, self.handed_over = self.handed_over, False
            if self.state not in sources and not (event.type == "task.claimed" and handed_over):
                self._break("legal-path", f"has the event {event.type} while it is {self.state}", self.last, event)
            if self.claims and self.claims[-1].end is None:
                self.claims[-1].end = event
                self.claims[-1].lost = event.type == "task.claimed"
            if event.type == "task.claimed":
                self._claim(event)
                self.claims.append(ClaimSpan(event, self._asked_to_end))
            self.state = target
            self._was_paused |= target is _PAUSED
            if target.terminal:
                self.ended = event
        elif event.type in _NEWS:
            self._news = True
            self._failed_child |= event.data.get("state") == TaskState.FAILED
        elif event.type not in _FENCED and event.type not in _ASIDE and not event.type.startswith(TOLD_BY_RUNS):
            self._asked_to_end |= event.type == "cancel.requested"
            self._urgent = True  # whatever the task waits for, it is due
            if event.type == "cancel.requested" and self.state in (_PAUSED, _IN_DOUBT):
                self.handed_over = True
            self._was_paused |= event.type == "pause.requested"
            if event.type == "task.resumed":
                if not self._was_paused:
                    self._break("legal-path", f"was resumed, {self.state}, and nobody had paused it", self.last, event)
                self.state = _QUEUED if self.state is _PAUSED else self.state

    def _stay_away(self, event: Event) -> None:
        """A task that a failed child called before its time waits on: it begins nothing."""
        called, self._called = self._called, None
        if called is None or event.type == "task.claimed":
            return
        if event.type == "task.waiting" and event.data.get("for") == RESTING:
            self._not_before = called
        elif event.type in _FENCED or event.type in _ENDS or event.type.startswith(TOLD_BY_RUNS):
            words = f"went on with {event.type} before its next attempt was due"
            self._break("not-before-due", words, called.cause, event)
        else:
            self._called = called

    def _claim(self, event: Event) -> None:
        token, deliveries = event.data.get("token", 0), event.data.get("deliveries", 0)
        if token <= self.token:
            words = f"was claimed with token {token} after token {self.token}"
            self._break("tokens-rise", words, self.claimed, event)
        most = self.deliveries + 1 if self.state is _RUNNING else self._kept
        if deliveries > most:
            words = f"was claimed as delivery {deliveries} where at most {most} were lost in a row"
            self._break("deliveries", words, self.claimed, event)
        if self.state is _RUNNING and self._lease_s is not None and self.claimed is not None:
            held = (event.time - self.claimed.time).total_seconds()
            if held < self._lease_s - _SLACK_S:
                words = f"was claimed again {held:g} s after a claim whose lease is {self._lease_s:g} s"
                self._break("one-holder", words, self.claimed, event)
        if self._not_before is not None and not self._urgent and (self._not_before.firm or not self._news):
            early = self._not_before.until - event.time.timestamp()
            if early > _SLACK_S and event.time.timestamp() < self._deadline - _SLACK_S and self._failed_child:
                self._called = self._not_before
            elif early > _SLACK_S and event.time.timestamp() < self._deadline - _SLACK_S:
                words = f"was claimed {early:g} s before it was due"
                self._break("not-before-due", words, self._not_before.cause, event)
        self._not_before, self._news, self._failed_child, self._urgent = None, False, False, False
        self._kept = 0
        self.token, self.deliveries, self.claimed = token, deliveries, event

    # -- what is written once ------------------------------------------------------------------------------------------

    def _step_end(self, event: Event) -> None:
        key = event.data["key"]
        self._still_open(key, event)
        self.ends[key] = (event.position, event.type == "step.done")
        self.intents.pop(key, None)
        if (signal := event.data.get("signal")) is not None:
            if signal in self.taken:
                self._break("one-result", f"took the signal {signal!r} twice", self.taken[signal], event)
            self.taken[signal] = event.position

    def _step_begin(self, event: Event) -> None:
        key = event.data["key"]
        self._still_open(key, event)
        if key in self.intents:
            words = f"began the once effect {key!r} again, and nobody had decided that it may"
            self._break("once", words, self.intents[key], event)
        self.intents[key] = event.position

    def _step_retry(self, event: Event) -> None:
        self._still_open(event.data["key"], event)
        self.intents.pop(event.data["key"], None)  # that try failed for certain
        self._timers[f"retry of {event.data['key']}"] = (event.position, event.data["until"])

    def _still_open(self, key: str, event: Event) -> None:
        if key in self.ends:
            self._break(
                "one-result", f"has {event.type} for the step {key!r}, which had ended", self.ends[key][0], event
            )

    def _timer(self, event: Event) -> None:
        key = event.data["key"]
        if key in self._timers:
            self._break("one-result", f"set the timer {key!r} twice", self._timers[key][0], event)
        self._timers[key] = (event.position, event.data["until"])

    def _spawn(self, event: Event) -> None:
        self._once_per_key("spawned a child at", self._spawned, event)
        self.children[event.data["child"]] = event.position

    def _child_ended(self, event: Event) -> None:
        child = event.data["child"]
        if child in self.child_ends:
            self._break("one-result", f"was told twice that the child {child} ended", self.child_ends[child], event)
        self.child_ends[child] = event

    def _question_ended(self, event: Event) -> None:
        question = event.data["question"]
        if question in self.answers:
            self._break("one-result", f"has two ends of the question {question}", self.answers[question], event)
        self.answers[question] = event.position

    def _once_per_key(self, what: str, known: dict[str, int], event: Event) -> None:
        key = event.data["key"]
        if key in known:
            self._break("one-result", f"{what} {key!r} twice", known[key], event)
        known[key] = event.position

    # -- attempts, doubts and time -------------------------------------------------------------------------------------

    def _accepted(self, event: Event) -> None:
        if delay_s := event.data.get("delay_s"):
            self._not_before = _Bound(event, event.time.timestamp() + delay_s, firm=True)

    def _attempt(self, event: Event) -> None:
        self.failures += 1
        if event.data.get("attempt") != self.failures:
            words = f"counts attempt {event.data.get('attempt')} where {self.failures} have failed"
            self._break("attempts", words, event)

    def _task_fallback(self, event: Event) -> None:
        self._attempt(event)
        self._fell_back = True

    def _task_failed(self, event: Event) -> None:
        """The failure of a fallback is no attempt of its own."""
        if not self._fell_back:
            self._attempt(event)

    def _task_retry(self, event: Event) -> None:
        """The failure that ended the attempt is forgotten, and the step may be tried again."""
        if event.data.get("until") is None:  # else a service asked to come back later
            self._attempt(event)
        self._not_before = _Bound(event, event.time.timestamp() + event.data.get("delay_s", 0.0), firm=True)
        key = event.data.get("key")
        if key is not None:
            if key in self.ends and not self.ends[key][1]:
                del self.ends[key]
                self.intents.pop(key, None)
            self._timers.pop(f"retry of {key}", None)
            self._spawned.pop(key, None)

    def _released(self, event: Event) -> None:
        """A worker gave the task back: a suspect remains one."""
        self._kept = min(event.data.get("deliveries", 0), self.deliveries)

    def _waiting(self, event: Event) -> None:
        if event.data.get("for") == "time" and not self._timed:
            now = event.time.timestamp()
            ahead = [until for _, until in self._timers.values() if until > now]
            self._not_before = _Bound(event, min(ahead), firm=False) if ahead else None

    def _resolved(self, event: Event) -> None:
        key, outcome = event.data["key"], event.data["outcome"]
        if key not in self.intents:
            self._break("once", f"had the step {key!r} resolved, which was not in doubt", event)
        self.intents.pop(key, None)
        if outcome in ("happened", "fail"):
            self.ends[key] = (event.position, outcome == "happened")

    def _break(self, rule: str, text: str, *where: Event | int | None) -> None:
        positions = [one.position if isinstance(one, Event) else one for one in where if one is not None]
        self.broken.append(Violation(rule, self.task, text, positions))


def _decision(event: Event, state: TaskState) -> tuple[frozenset[TaskState], TaskState] | None:
    """The move of a decision that leaves the task where it is: a check decides in its run, or other doubts are open."""
    if event.type != "task.resolved":
        return None
    if event.data.get("by") == "check":
        return frozenset({_RUNNING}), state
    return (frozenset({_IN_DOUBT}), state) if event.data.get("left", 0) > 0 else None


_READERS: dict[str, Callable[[Story, Event], None]] = {
    "task.accepted": Story._accepted,
    "step.done": Story._step_end,
    "step.failed": Story._step_end,
    "step.started": Story._step_begin,
    "step.retry": Story._step_retry,
    "timer.set": Story._timer,
    "child.spawned": Story._spawn,
    "child.ended": Story._child_ended,
    "task.retry": Story._task_retry,
    "task.failed": Story._task_failed,
    "task.fallback": Story._task_fallback,
    "task.released": Story._released,
    "task.waiting": Story._waiting,
    "task.resolved": Story._resolved,
    "question.answered": Story._question_ended,
    "question.expired": Story._question_ended,
}
