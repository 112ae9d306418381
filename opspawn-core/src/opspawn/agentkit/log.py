"""What a run context writes to: nothing but listeners (here, in memory), or a task's journal (in `opspawn.ops`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opspawn.agentkit.children import ChildAsked, Children
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.ledger import Ledger
from opspawn.agentkit.rates import Rates
from opspawn.agentkit.recorded import Asked, Recorded, Tries
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import Clock
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import ModelDelta, Usage
from opspawn.contracts.question import Question
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Take
from opspawn.contracts.tool import CallNotes
from opspawn.errors import Halt

#: What a log writes, and what it passes on: a line, or a piece of a stream.
LogEntry = NewEvent | ModelDelta
OnEntry = Callable[[LogEntry], None]


@dataclass(frozen=True, slots=True)
class Pending:
    """Something from outside the run has not come yet: ask again once `news` is set, or at `until` (epoch seconds).

    `what` names it, for people who wonder what a run waits for.
    """

    news: asyncio.Future[None]
    until: float | None
    what: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A human's leave for one step.

    Attributes:
        question: the id of the question that was answered; None in memory.
        digest: of the arguments that were asked about. by: who decided.
        arguments: those to be used instead, if the approver changed them.
        standing: whether it holds for all such calls of the run.
    """

    question: str | None
    digest: str
    by: str | None = None
    arguments: Any = None
    standing: bool = False


class StepLog(Protocol):
    """The one thing that a run context knows of durability.

    `durable` says whether keys and digests matter. `clock` tells the time of the run. `identity` is the stable stem of
    idempotency keys: the same for every try, attempt and generation of the run.
    """

    @property
    def durable(self) -> bool: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def identity(self) -> str: ...

    def recall(self, asked: Asked) -> Recorded | None:
        """The recorded end of a step, or None. Raises: JournalMismatch; InDoubt for a `once` effect without an end."""
        ...

    async def resolve(self, asked: Asked, outcome: str, result: Any) -> Recorded | None:
        """Record what a check says of a step in doubt ("happened", "not-happened", "again"); the step's end, if it has
        one.
        """
        ...

    def halted(self, halt: Halt) -> None:
        """Note that the run must stop: nothing is answered and nothing begins from now on; what is in flight is
        recorded.
        """
        ...

    def tries(self, key: str) -> Tries:
        """The failed tries of a step so far, those of earlier lives of the run included."""
        ...

    def check(self) -> None:
        """Called before each effect. Raises: Halt when this process no longer holds the run."""
        ...

    def held(self) -> None:
        """Called between the record of a `once` effect and the effect, which is in doubt if it does not follow: a run
        that must halt does it yet. Raises: Halt when this process no longer holds the run.
        """
        ...

    async def begin(self, asked: Asked, arguments: Any) -> object:
        """Record the intent of a `once` effect, durably, before it starts."""
        ...

    async def done(self, asked: Asked, result: Any, duration_s: float) -> object:
        """Record a result, durably. Raises: InvalidInput: it is too large to be kept."""
        ...

    async def failed(self, asked: Asked, error: dict[str, Any], duration_s: float) -> object:
        """Record a final failure, durably."""
        ...

    async def retry(self, asked: Asked, tries: int, error: dict[str, Any], delay_s: float) -> float:
        """Record a failed try that will be repeated, `tries` of which count; the answer is when, in epoch seconds."""
        ...

    async def timer(self, asked: Asked, seconds: float) -> float:
        """Record the begin of a sleep, once; the answer is its end, in epoch seconds."""
        ...

    async def spawn(self, wanted: Sequence[ChildAsked]) -> Children:
        """Make child tasks, each once, and tell what is known of their ends."""
        ...

    async def wait(self, asked: Asked, signal: str, timeout_s: float | None) -> Recorded | Pending:
        """The next signal of a name, taken by this step alone; at the end of the time, the failure."""
        ...

    async def ask(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Recorded | Pending:
        """Put a question, once; its answer as `{"value", "by", ...}`; at the end of the time the default, or the
        failure if that is `NO_DEFAULT`.
        """
        ...

    @property
    def policies(self) -> Policies:
        """What decides on the acts of every run, whoever acts."""
        ...

    def standing(self, scope: str, key: str) -> Grant | None:
        """The leave that an approver gave for all such calls of this run; None where one was asked at `key` itself."""
        ...

    async def redeem(self, asked: Asked, grant: Grant, *, with_intent: bool) -> None:
        """Use an approval for a step, durably and by that step alone; `with_intent` in the commit of its `begin`.

        Raises: Denied: it was used by another step, is void by now, or is for other arguments.
        """
        ...

    @property
    def budget(self) -> Budget | None:
        """What the run as a whole may use: it was given that, or lent it by its parent."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What the run has used."""
        ...

    @property
    def began(self) -> float:
        """When the run first began, in epoch seconds."""
        ...

    def notes(self, key: str) -> CallNotes:
        """What was put down within the call at a key, and the way to put down more."""
        ...

    async def note(self, event: NewEvent) -> None:
        """Record an event that is no step, durably."""
        ...

    async def denied(self, asked: Asked, error: dict[str, Any], detail: dict[str, Any]) -> None:
        """Record that a step was not allowed, durably."""
        ...

    def spawned(self, key: str) -> bool:
        """Whether the child at a key has been made."""
        ...

    async def progress(self, data: dict[str, Any]) -> None:
        """Note that the run is alive, and tell listeners, not too often."""
        ...

    def report(self, data: dict[str, Any]) -> None:
        """Note that the run is alive, and tell listeners how far a call of a tool is; nothing is recorded."""
        ...

    def aside(self, key: str, usage: Usage) -> None:
        """Count what a model call has used that a tool has made within its call."""
        ...

    async def emit(self, asked: Asked, data: dict[str, Any]) -> None:
        """Record an event of the user's own, once."""
        ...

    @property
    def rates(self) -> Rates:
        """The rates that runs share."""
        ...

    async def take(self, takes: Sequence[Take], asked: Asked | None = None) -> None:
        """Spend rates, all or none, and with `asked` record the step in the same commit. Raises: Limited."""
        ...

    def owe(self, takes: Sequence[Take]) -> None:
        """Spend more, or give back, with the record that comes next."""
        ...

    def answered(self, data: dict[str, Any]) -> None:
        """Note how the run of an agent ended, to be recorded with the end of the task; the last word counts."""
        ...

    def delta(self, delta: ModelDelta) -> None:
        """Pass on a piece of a stream."""
        ...

    def alive(self, delta: ModelDelta) -> None:
        """Note that there is a piece of a stream, and show it to nobody."""
        ...


def backoff_s(policy: RetryPolicy, tries: int) -> float:
    """Seconds to wait after `tries` failed tries (1 or more): exponential, capped, with full jitter if the policy says
    so.
    """
    try:
        wait = min(policy.max_s, policy.initial_s * policy.factor ** (tries - 1))
    except OverflowError:  # long past any cap
        wait = policy.max_s
    return random.uniform(0.0, wait) if policy.jitter else wait


async def sleep_until(until: float, clock: Clock) -> None:
    """Sleep until a time in epoch seconds."""
    await asyncio.sleep(max(0.0, until - clock.time()))
