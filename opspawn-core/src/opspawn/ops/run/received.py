"""What others sent to a run, and what it waits for from them, as its journal tells: signals, questions and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opspawn.agentkit.log import Grant
from opspawn.agentkit.recorded import Recorded


@dataclass(frozen=True, slots=True)
class Signal:
    """A message to the run; `id` tells it from its own repetitions."""

    id: str
    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for a signal with a time-out; `until` in epoch seconds."""

    name: str
    digest: str
    until: float


@dataclass(frozen=True, slots=True)
class Posed:
    """A question that was put to somebody; `until` in epoch seconds, None for no end."""

    id: str
    name: str
    digest: str
    until: float | None
    default: Any
    has_default: bool
    scope: str | None = None


class Mail:
    """The mail of a run.

    Attributes:
        waits, questions: by the keys of their steps. answers: how questions ended, by their ids.
        posed: how many questions a key has put: one more after an attempt that failed for want of an answer.
        standing: by scope, what an approver allowed for the rest of the run. used: the steps that used an approval.
        news: topics (see `signal_topic`, `answer_topic`) that came since the journal last told those who wait.
    """

    def __init__(self) -> None:
        self.waits: dict[str, Wait] = {}
        self.questions: dict[str, Posed] = {}
        self.answers: dict[str, Recorded] = {}
        self.posed: dict[str, int] = {}
        self.standing: dict[str, Grant] = {}
        self.used: set[str] = set()
        self.news: set[str] = set()
        self._signals: dict[str, Signal] = {}
        self._taken: set[str] = set()

    def next_signal(self, name: str) -> Signal | None:
        """The first signal of a name that nobody has taken."""
        for signal in self._signals.values():
            if signal.name == name and signal.id not in self._taken:
                return signal
        return None

    def take(self, signal: str) -> None:
        """Give a signal to nobody else."""
        self._taken.add(signal)

    @property
    def open_questions(self) -> list[str]:
        """Ids of questions that were neither answered nor given up."""
        return [put.id for put in self.questions.values() if put.id not in self.answers]

    # -- reading the journal -------------------------------------------------------------------------------------------

    def received(self, data: dict[str, Any]) -> None:
        """A signal came; one whose id came before is the same signal."""
        self._signals.setdefault(data["id"], Signal(data["id"], data["name"], data.get("data")))
        self.news.add(signal_topic(data["name"]))

    def awaited(self, data: dict[str, Any]) -> Wait:
        """A wait with a time-out began."""
        wait = self.waits[data["key"]] = Wait(data["name"], data["digest"], data["until"])
        return wait

    def put(self, data: dict[str, Any]) -> Posed:
        """A question was put."""
        key, known = data["key"], self.questions.get(data["key"])
        if known is None or known.id != data["question"]:
            self.posed[key] = self.posed.get(key, 0) + 1
            self.questions[key] = Posed(
                data["question"],
                data["name"],
                data["digest"],
                data["until"],
                data.get("default"),
                "default" in data,
                (data.get("call") or {}).get("scope"),
            )
        return self.questions[key]

    def answered(self, data: dict[str, Any]) -> None:
        """A question was answered; the first answer counts."""
        told = {"question": data["question"], "value": data["value"], "by": data.get("by")}
        if data["question"] not in self.answers:
            self.answers[data["question"]] = Recorded("", "", True, told)
            self._allow_for_the_run(data)
        self.news.add(answer_topic(data["question"]))

    def _allow_for_the_run(self, data: dict[str, Any]) -> None:
        posed, value = self.questions.get(data.get("key", "")), data["value"]
        if data.get("about") != "approval" or posed is None or posed.scope is None:
            return
        if value["decision"] == "approve" and value.get("always"):
            self.standing[posed.scope] = Grant(data["question"], posed.digest, data.get("by"), standing=True)

    def redeemed(self, data: dict[str, Any]) -> None:
        """A step used an approval."""
        self.used.add(data["key"])

    def expired(self, data: dict[str, Any]) -> Recorded:
        """A question was given up: its time is over."""
        if "error" in data:
            ended = Recorded("", "", False, error=data["error"])
        else:
            ended = Recorded("", "", True, {"question": data["question"], "value": data["default"], "expired": True})
        return self.answers.setdefault(data["question"], ended)

    def try_again(self, key: str) -> None:
        """The attempt failed because nothing came at `key`: the next one waits, and asks, anew."""
        self.waits.pop(key, None)
        known = self.questions.get(key)
        if known is not None and (end := self.answers.get(known.id)) and not end.ok:
            del self.questions[key]

    def ask_again(self, key: str) -> None:
        """Forget a no that was the answer of the approval at `key`."""
        known = self.questions.get(key)
        end = self.answers.get(known.id) if known is not None else None
        if end is not None and end.ok and end.result["value"].get("decision") == "deny":
            del self.questions[key]

    def begin_anew(self) -> None:
        """A new generation keeps the answers that it got and the signals that it did not take yet."""
        self.waits = {}
        self.standing = {}
        self.questions = {
            key: put for key, put in self.questions.items() if (end := self.answers.get(put.id)) and end.ok
        }


def signal_topic(name: str) -> str:
    """What one who waits for a signal listens to."""
    return f"signal {name}"


def answer_topic(question: str) -> str:
    """What one who waits for an answer listens to."""
    return f"answer {question}"


#: How each type of event is read.
MAIL: dict[str, Callable[[Mail, dict[str, Any]], object]] = {
    "signal.received": Mail.received,
    "signal.awaited": Mail.awaited,
    "question.asked": Mail.put,
    "question.answered": Mail.answered,
    "question.expired": Mail.expired,
    "approval.used": Mail.redeemed,
}
