"""What a journal says has happened so far in a run: the events of its task, and of the generations before it, as
answers.

Pure data: events go in, in order (`absorb`), and each dictionary answers one question by the key of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from opspawn.agentkit.codec import usage_from_json
from opspawn.agentkit.ledger import ASIDE, READ, Amount, Ledger
from opspawn.agentkit.recorded import NO_TRIES, Recorded, Tries
from opspawn.contracts.events import TOLD_BY_RUNS, Event
from opspawn.contracts.model import Usage
from opspawn.contracts.store import TaskState
from opspawn.ops.run.losses import LOSSES, Losses
from opspawn.ops.run.received import MAIL, Mail

#: What runs have used that called no model and had no children.
NOTHING_USED = Usage()


@dataclass(frozen=True, slots=True)
class Intent:
    """A `once` effect that began."""

    name: str
    digest: str
    arguments: Any
    kind: str = "step"
    began: datetime | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """A sleep; `until` in epoch seconds."""

    name: str
    digest: str
    until: float


@dataclass(frozen=True, slots=True)
class Child:
    """A child task; `name` is its handler."""

    name: str
    digest: str
    child: str


class History:
    """A run's past.

    Attributes:
        keys: of whatever is recorded under a key; one that is not among them is new.
        ends: how steps ended. intents: `once` effects that began; those also in `ends` are no longer in doubt.
        tries, timers, children, emitted, notes: by key. lives: how many children a key has had.
        child_ends: how children ended, by their ids. within: what all these used.
        asides: what model calls have used that tools made within their calls, by key.
        former_children: whose work the next child at a key inherits.
        fell_back: whether no attempt was left, and the fallback was asked.
        postponements: how often services put off the task as a whole.
        began: when the first claim of this attempt was, by the store's clock; None before it.
        unwinding: whether the children were asked to end. mail: what others sent.
        denied_at: the step whose denial made the run fail.
        pause_requested: whether somebody asked to pause, and it has not been done; paused_by and paused_with tell who,
            and the task above this one that was meant, if it was not this one.
        rests_until: when the next attempt is due, if one failed, by the store's clock.
        ledger: what the run has used. first_claim: when the first claim was, by the store's clock; None before it.
    """

    def __init__(self, *generations: Sequence[Event]) -> None:
        """Take in the journals of former generations, oldest first: what succeeded counts, and so does what is in
        doubt.
        """
        self.position = 0
        self.cancel_requested = False
        self.unwinding = False
        self.began: datetime | None = None
        self.keys: set[str] = set()
        self.ends: dict[str, Recorded] = {}
        self.intents: dict[str, Intent] = {}
        self.tries: dict[str, Tries] = {}
        self.timers: dict[str, Timer] = {}
        self.children: dict[str, Child] = {}
        self.child_ends: dict[str, Recorded] = {}
        self.within = NOTHING_USED
        self.asides: dict[str, Usage] = {}
        self.former_children: dict[str, str] = {}
        self.emitted: dict[str, Recorded] = {}
        self.notes: dict[str, list[Any]] = {}
        self.lives: dict[str, int] = {}
        self.postponements = NO_TRIES
        self.fell_back = False
        self.denied_at: str | None = None
        self.pause_requested = False
        self.paused_by: str | None = None
        self.paused_with: str | None = None
        self.mail = Mail()
        self.rests_until: datetime | None = None
        self.losses = Losses()
        self.ledger = Ledger()
        self.first_claim: datetime | None = None
        for events in generations:
            self.absorb(events)
            self._begin_anew()

    def absorb(self, events: Sequence[Event]) -> None:
        """Take in events that others or an earlier life of the run have written; to see one twice changes nothing."""
        for event in events:
            if event.position <= self.position:
                continue
            self.position = event.position
            if "key" in event.data:
                self.keys.add(event.data["key"])
            if event.type in LOSSES:
                self.losses.absorb(event)
            if event.type in READ:
                self.ledger.read(event.type, event.data)
            reader = _READERS.get(event.type)
            if reader is not None:
                reader(self, event.data)
                if event.type == "task.retry":
                    self.rests_until = event.time + timedelta(seconds=event.data["delay_s"])
            elif event.type == "step.started":
                self._started(event.data, event.time)
            elif event.type in MAIL:
                MAIL[event.type](self.mail, event.data)
            elif event.type == "task.claimed":
                self.began = self.began or event.time
                self.first_claim = self.first_claim or event.time
            elif event.type.startswith(TOLD_BY_RUNS) and "digest" in event.data:
                self.emitted[event.data["key"]] = Recorded(event.data["digest"], event.type, True)

    @property
    def unfinished_children(self) -> list[str]:
        """Ids of children that have not reported their end."""
        return [known.child for known in self.children.values() if known.child not in self.child_ends]

    @property
    def doubts(self) -> dict[str, Intent]:
        """The `once` effects that began and whose end is not known, by key."""
        return {key: intent for key, intent in self.intents.items() if key not in self.ends}

    def spawned(self, data: dict[str, Any]) -> None:
        """A child was made."""
        key, known = data["key"], self.children.get(data["key"])
        if "lent" in data:
            self.ledger.lent(key, data["child"], Amount.from_json(data["lent"]))
        if known is None or known.child != data["child"]:
            self.children[key] = Child(data["name"], data["digest"], data["child"])
            self.lives[key] = self.lives.get(key, 0) + 1

    def _begin_anew(self) -> None:
        """A new generation keeps what succeeded, and every doubt: only a human may let a `once` effect begin again.

        Of answers it keeps all but the no that the run failed of: who retries that wants to be asked once more.
        """
        self.intents = {key: intent for key, intent in self.intents.items() if key not in self.ends}
        self.ends = {key: end for key, end in self.ends.items() if end.ok}
        for key, known in list(self.children.items()):
            end = self.child_ends.get(known.child)
            if end is None or not end.ok:
                self.former_children[key] = self.children.pop(key).child
        self.tries = {}
        self.postponements = NO_TRIES
        self.fell_back = False
        self.emitted = {}
        self.position = 0
        self.cancel_requested = self.unwinding = self.pause_requested = False
        self.began = self.rests_until = None
        self.asides = {}
        self.ledger, self.first_claim = Ledger(), None  # what a former generation has used is paid by nobody anew
        self.mail.begin_anew()
        if self.denied_at is not None:
            self.mail.ask_again(f"{self.denied_at}/approval")
            self.denied_at = None
        self.losses.begin_anew()

    def _done(self, data: dict[str, Any]) -> None:
        if data.get("kind") == "think" and ASIDE in data["key"]:
            self.asides[data["key"]] = usage_from_json((data.get("result") or {}).get("usage") or {})
        self.ends[data["key"]] = Recorded(data["digest"], data["name"], True, data.get("result"))
        if "signal" in data:
            self.mail.take(data["signal"])

    def _failed(self, data: dict[str, Any]) -> None:
        self.ends[data["key"]] = Recorded(data["digest"], data["name"], False, error=data["error"])

    def _started(self, data: dict[str, Any], time: datetime) -> None:
        kind = data.get("kind", "step")
        self.intents[data["key"]] = Intent(data["name"], data["digest"], data.get("arguments"), kind, time)

    def _retry(self, data: dict[str, Any]) -> None:
        """A try failed for certain, so nothing is in doubt. A postponement is a try that does not count."""
        self.intents.pop(data["key"], None)
        before = self.tries.get(data["key"], NO_TRIES)
        was_put_off = data["try"] == before.failures
        first = before.first or (data["until"] if was_put_off else 0.0)
        self.tries[data["key"]] = Tries(data["try"], before.postponed + was_put_off, data["until"], first)

    def _timer(self, data: dict[str, Any]) -> None:
        self.timers[data["key"]] = Timer(data["name"], data["digest"], data["until"])

    def _child_ended(self, data: dict[str, Any]) -> None:
        child, state = data["child"], data["state"]
        ok = state == TaskState.SUCCEEDED
        error = data.get("error") or {"type": str(state), "message": f"The child {child} was {state}."}
        self.within += usage_from_json(data.get("usage") or {})
        self.child_ends[child] = Recorded(
            "", "", ok, data.get("result"), None if ok else {**error, "class": "StepFailed"}
        )

    def _task_retry(self, data: dict[str, Any]) -> None:
        """A new attempt answers every recorded step but the failure that ended the last one."""
        self.began = None
        until = data.get("until")
        if until is not None and until != self.postponements.until:
            before = self.postponements
            self.postponements = Tries(0, before.postponed + 1, until, before.first or until)
        key = data.get("key")
        if key is None:
            return
        end = self.ends.get(key)
        if end is not None and not end.ok:
            del self.ends[key]
            self.intents.pop(key, None)
        self.tries.pop(key, None)
        self.mail.try_again(key)
        known = self.children.get(key)
        if known is not None and not ((end := self.child_ends.get(known.child)) and end.ok):
            self.former_children[key] = self.children.pop(key).child

    def resolved(self, data: dict[str, Any]) -> None:
        """Somebody decided about a step in doubt."""
        intent = self.intents.pop(data["key"], None)
        if intent is None or data["outcome"] in ("again", "not-happened"):
            return
        ok = data["outcome"] == "happened"
        self.ends[data["key"]] = Recorded(intent.digest, intent.name, ok, data.get("result"), data.get("error"))

    def _task_failed(self, data: dict[str, Any]) -> None:
        error = data["error"]
        self.denied_at = error.get("key") if error.get("type") == "denied" else None

    def _noted(self, data: dict[str, Any]) -> None:
        self.notes.setdefault(data["key"], []).append(data["note"])

    def _halted(self, data: dict[str, Any]) -> None:
        self.began = None  # the time in which a human thinks is not the attempt's
        self.pause_requested = False

    def _waiting(self, data: dict[str, Any]) -> None:
        self.unwinding = data.get("for") == UNWINDING
        if data.get("for") == RESTING:
            self.began = None

    def _fallback(self, data: dict[str, Any]) -> None:
        self.fell_back = True

    def _pause(self, data: dict[str, Any]) -> None:
        self.pause_requested, self.paused_by, self.paused_with = True, data.get("by"), data.get("with")

    def _cancel(self, data: dict[str, Any]) -> None:
        self.cancel_requested = True


#: What a task waits for that was called before its next attempt was due.
RESTING = "the next attempt"
#: What a task waits for while its children end on its request.
UNWINDING = "children to end"

_READERS: dict[str, Callable[[History, dict[str, Any]], None]] = {
    "step.done": History._done,
    "step.failed": History._failed,
    "step.retry": History._retry,
    "timer.set": History._timer,
    "call.noted": History._noted,
    "child.spawned": History.spawned,
    "child.ended": History._child_ended,
    "task.retry": History._task_retry,
    "task.failed": History._task_failed,
    "task.resolved": History.resolved,
    "task.paused": History._halted,
    "task.in_doubt": History._halted,
    "task.resumed": History._halted,
    "task.waiting": History._waiting,
    "pause.requested": History._pause,
    "cancel.requested": History._cancel,
    "task.fallback": History._fallback,
}
