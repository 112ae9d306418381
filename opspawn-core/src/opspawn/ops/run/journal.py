"""A claimed task's journal as a run context sees it: what is recorded, and the fenced writes that add to it.

The journal is read once per claim, and news (`refresh`) are read when the task's `wakes` rise. Every write carries the
claim's token. A write that the store refuses, or cannot do, ends this life of the run with `Interrupted`: the run may
not go on with an effect whose record is uncertain, and whoever claims the task next reads what was really committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from opspawn.agentkit.budget import purse_of
from opspawn.agentkit.children import ChildAsked, Children
from opspawn.agentkit.codec import usage_from_json, usage_to_json
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.ledger import Ledger
from opspawn.agentkit.log import Grant, Pending
from opspawn.agentkit.rates import Rates
from opspawn.agentkit.recorded import NO_TRIES, Asked, Recorded, Tries, check_same, check_unlike
from opspawn.contracts.budget import Budget
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import WARNINGS, Event, Level, NewEvent, TaskDelta
from opspawn.contracts.model import ModelDelta, Usage
from opspawn.contracts.question import Question
from opspawn.contracts.store import Append, Batch, Lease, Operation, Receipt, Record, Store, Take, Task
from opspawn.errors import Conflict, Halt, InDoubt, Interrupted, Limited, StoreError
from opspawn.ops.retry_plans import plan_of
from opspawn.ops.run.history import NOTHING_USED, History
from opspawn.ops.run.inbox import Inbox
from opspawn.ops.run.lines import line_batch
from opspawn.ops.run.liveness import Pulse
from opspawn.ops.run.noting import Notes
from opspawn.ops.run.offspring import Holds, Offspring
from opspawn.ops.run.redeeming import Redeemer
from opspawn.ops.run.spending import cut_off, with_spent
from opspawn.ops.run.unasked import Unasked
from opspawn.ops.sizes import refuse_oversize

#: What to record as the input of a handler. Raises: NotFound, InvalidInput.
Accepts = Callable[[str, Any], Awaitable[Any]]


def _nobody() -> None:
    """Nobody listens."""


class Journal:
    """The `StepLog` of a durable run.

    Args:
        history: what is recorded so far.
        identity: the first generation's id, the stem of all idempotency keys.
        accepts: for a child: its input as it is to be recorded. Raises: NotFound, InvalidInput.
        ring: called with a queue after a child was made.
        may_act: raises Interrupted when the worker may no longer act under this lease.
        clock: tells the store's time.
        rates: the rates that runs share. policies: what decides on the acts of runs.
        holds: what the children of a handler hold while they run.

    Attributes:
        halt: why the run must stop, once it must. From then on nothing is answered and nothing begins.
        closed: whether this life has ended: user code that is still there can no longer act.
        uncertain: whether a write failed in a way that leaves open whether the store applied it.
        pulse: whether the run moves. offspring: its children. unasked: what is in doubt, and was not asked for yet.
        on_halt: called once, when the run must halt. on_release: called when news let a branch go on that waited.
    """

    durable = True

    def __init__(
        self,
        store: Store,
        lease: Lease,
        history: History,
        *,
        identity: str | None = None,
        accepts: Accepts,
        ring: Callable[[str], None] = lambda queue: None,
        may_act: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
        rates: Rates | None = None,
        policies: Policies | None = None,
        holds: Holds = lambda handler: (),
    ) -> None:
        self.rates = rates or Rates()
        self.policies = policies or Policies()
        self.task: Task = lease.task
        self.history = history
        budget = plan_of(lease.task).budget
        self.budget = None if budget is None else Budget.from_json(budget)
        self.began = (history.first_claim or lease.task.updated or datetime.now(UTC)).timestamp()
        self.identity = identity or lease.task.id
        self.clock = clock
        self.wakes = lease.task.wakes
        self.halt: Halt | None = None
        self.closed = False
        self.uncertain = False
        self.on_halt = self.on_release = self.on_news = _nobody
        self._broken: Interrupted | None = None
        self._store = store
        self._token = lease.token
        self._accepts = accepts
        self._may_act = may_act
        self._holds = holds
        self._ring = ring
        self._offspring: Offspring | None = None
        self._inbox: Inbox | None = None
        self._redeemer: Redeemer | None = None
        self.pulse = Pulse(clock)
        self.unasked = Unasked(history)
        self._owed: list[Take] = []
        self._noted: dict[str, list[Any]] = {}
        self._answered: dict[str, Any] | None = None

    # -- its parts, of which most runs need none -----------------------------------------------------------------------

    @property
    def offspring(self) -> Offspring:
        if self._offspring is None:
            self._offspring = Offspring(self, self._holds, self._ring)
        return self._offspring

    def _mailbox(self) -> Inbox:
        if self._inbox is None:
            self._inbox = Inbox(self, self.history.mail)
        return self._inbox

    def _approvals(self) -> Redeemer:
        if self._redeemer is None:
            self._redeemer = Redeemer(self, self.history.mail)
        return self._redeemer

    async def settle(self) -> None:
        """Once the life is closed, return when it is known which children there are."""
        if self._offspring is not None:
            await self._offspring.settle()

    def close(self) -> None:
        """This life has ended. It is known to nobody from now on, and what it is made of does not hold each other: so
        it goes at once, and not when Python looks for cyclic garbage, which took a sixth of all processor time.
        """
        self.closed = True
        self.on_halt = self.on_release = self.on_news = _nobody
        self._offspring = self._inbox = self._redeemer = None

    def answered(self, data: dict[str, Any]) -> None:
        if not self.closed:
            self._answered = data

    @property
    def last_words(self) -> list[Operation]:
        """What is recorded together with the end of the task: how its agent ended, if it ran one."""
        if self._answered is None:
            return []
        level: Level = "warning" if self._answered["error"] else "info"
        told = {**self._answered, "usage": self._used()}
        return [Append(self.task.id, NewEvent("agent.answered", told, level=level), self.task.token)]

    def _used(self) -> dict[str, Any]:
        """What the model calls of the run used, those of its children included."""
        history = self.history
        if self._answered is None and not history.asides and history.within is NOTHING_USED:
            return {}
        own = {} if self._answered is None else self._answered["usage"]
        return usage_to_json(sum(history.asides.values(), usage_from_json(own) + history.within))

    @property
    def ledger(self) -> Ledger:
        return self.history.ledger

    async def open_books(self) -> None:
        """From now on the run itself enters what it uses; calls that an earlier life had begun are charged.

        Raises: Interrupted.
        """
        if lost := cut_off(self.ledger, self.line):
            await self.commit(lost)
        self.ledger.live = True

    def closing(self, operations: Sequence[Operation]) -> list[Operation]:
        """What ends the task, with what it used."""
        lost = cut_off(self.ledger, self.line)
        more: dict[str, Any] = {} if self.budget is None else {"spent": self.ledger.total.to_json()}
        if used := self._used():
            more["usage"] = used
        return [*lost, *(with_spent(operations, self.task.parent, more) if more else operations)]

    def what_is_left(self) -> Budget | None:
        """Of what the task was given, for whoever goes on in its place; None if it was given no budget."""
        if self.budget is None:
            return None
        return purse_of(self.budget, self.ledger, self.began, self.clock).loan(0)

    def notes(self, key: str) -> Notes:
        return Notes(key, self.history, self._noted, self.note)

    async def note(self, event: NewEvent) -> None:
        await self._commit_here([self.line(event)])

    # -- reading -------------------------------------------------------------------------------------------------------

    async def refresh(self, wakes: int) -> None:
        """Read the news; `wakes` is the count that told of them."""
        events = await self._store.journal(self.task.id, self.history.position)
        self.history.absorb(events)
        self.wakes = max(self.wakes, wakes)
        self._let_go(events)
        self.on_news()

    def _let_go(self, events: Sequence[Event]) -> None:
        """Answer those who wait for children that have ended, and for mail that came."""
        if self._inbox is not None and self._inbox.let_go():
            self.on_release()
        for event in events:
            if event.type == "child.ended" and self._told(event.data["child"]):
                self.on_release()

    def _told(self, child: str) -> bool:
        """Whether somebody who waits for a child goes on now."""
        return self._offspring is not None and self._offspring.ended(child)

    async def look(self) -> None:
        """Read the news, if there are any. Raises: Interrupted."""
        try:
            wakes = (await self._store.wakes([self.task.id])).get(self.task.id, 0)
            if wakes > self.wakes:
                await self.refresh(wakes)
        except StoreError as error:
            raise self._unreadable(error) from error

    async def read(self, kind: str, id: str) -> Record | None:
        try:
            return await self._store.get(kind, id)
        except StoreError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: StoreError) -> Interrupted:
        self.uncertain = True
        return Interrupted(f"Task {self.task.id} stops in this process: {error}")

    # -- StepLog -------------------------------------------------------------------------------------------------------

    def recall(self, asked: Asked) -> Recorded | None:
        if self.closed or self.halt is not None:
            self._open()
        history = self.history
        if asked.key not in history.keys:
            return None
        end = history.ends.get(asked.key)
        if end is not None:
            check_same(asked, end.name, end.digest)
            return end
        intent = history.intents.get(asked.key)
        if intent is not None:
            self.unasked.asked(asked.key)
            check_same(asked, intent.name, intent.digest)
            raise InDoubt(asked.key, asked.name, intent.arguments, kind=asked.kind)
        check_unlike(asked, history.timers, history.children, history.mail.waits, history.mail.questions)
        return None

    async def resolve(self, asked: Asked, outcome: str, result: Any) -> Recorded | None:
        data = {"key": asked.key, "outcome": outcome, "result": result, "by": "check"}
        await self._commit_here([Append(self.task.id, NewEvent("task.resolved", data), self._token)])
        self.history.resolved(data)
        return self.history.ends.get(asked.key)

    def halted(self, halt: Halt) -> None:
        if self.halt is None and not self.closed:
            self.halt = halt
            self.on_halt()

    def tries(self, key: str) -> Tries:
        return self.history.tries.get(key, NO_TRIES)

    def check(self) -> None:
        if self.closed or self.halt is not None:
            self._open()
        self._may_act()

    def held(self) -> None:
        if self.closed:
            raise self._over()
        self._may_act()

    async def begin(self, asked: Asked, arguments: Any) -> Receipt:
        if self.unasked:  # guard: what is in doubt may be this very effect, under another name
            await self.unasked.wait()
        beside = () if self._redeemer is None else self._redeemer.pending(asked.key)
        return await self.append("step.started", asked, arguments=arguments, beside=beside)

    def done(self, asked: Asked, result: Any, duration_s: float) -> Coroutine[Any, Any, Receipt]:
        key, kind, name, digest = asked
        duration = round(duration_s * 1e6) / 1e6  # as round(…, 6), which takes ten times as long
        body = {"key": key, "kind": kind, "name": name, "digest": digest, "result": result, "duration_s": duration}
        batch = line_batch(self.task.id, "step.done", body, self._token)
        if self._owed:
            batch.operations = [*batch.operations, *self._owed]
            self._owed = []
        if self.closed:
            raise self._over()
        self.pulse.beat()
        return self._commit(batch)

    def failed(self, asked: Asked, error: dict[str, Any], duration_s: float) -> Coroutine[Any, Any, Receipt]:
        return self.append("step.failed", asked, error=error, duration_s=round(duration_s, 6))

    async def retry(self, asked: Asked, tries: int, error: dict[str, Any], delay_s: float) -> float:
        until = self.clock.time() + delay_s
        data: dict[str, Any] = {"error": error, "until": until, "try": tries}
        await self.append("step.retry", asked, **data)
        return until

    async def timer(self, asked: Asked, seconds: float) -> float:
        self._open()
        known = self.history.timers.get(asked.key)
        if known is not None:
            check_same(asked, known.name, known.digest)
            return known.until
        check_unlike(asked, self.history.ends)
        until = self.clock.time() + max(0.0, seconds)
        await self.append("timer.set", asked, until=until)
        return until

    async def spawn(self, wanted: Sequence[ChildAsked]) -> Children:
        self._open()
        known = self.history.children
        fresh = []
        for one in wanted:
            child = known.get(one.asked.key)
            if child is not None:
                check_same(one.asked, child.name, child.digest)
            else:
                check_unlike(one.asked, self.history.ends)
                fresh.append(one)
        return await self.offspring.spawn(wanted, fresh)

    async def wait(self, asked: Asked, signal: str, timeout_s: float | None) -> Recorded | Pending:
        self._open()
        history = self.history
        if (end := history.ends.get(asked.key)) is not None:
            check_same(asked, end.name, end.digest)
            return end
        check_unlike(asked, history.timers, history.children, history.mail.questions)
        if (known := history.mail.waits.get(asked.key)) is not None:
            check_same(asked, known.name, known.digest)
        return await self._mailbox().wait(asked, signal, timeout_s)

    async def ask(self, asked: Asked, question: Question, timeout_s: float | None, default: Any) -> Recorded | Pending:
        self._open()
        history = self.history
        check_unlike(asked, history.ends, history.timers, history.children, history.mail.waits)
        if (known := history.mail.questions.get(asked.key)) is not None:
            check_same(asked, known.name, known.digest)
        return await self._mailbox().ask(asked, question, timeout_s, default)

    def standing(self, scope: str, key: str) -> Grant | None:
        mail = self.history.mail
        return None if key in mail.questions else mail.standing.get(scope)

    async def redeem(self, asked: Asked, grant: Grant, *, with_intent: bool) -> None:
        self._open()
        await self._approvals().redeem(asked, grant, with_intent=with_intent)

    async def denied(self, asked: Asked, error: dict[str, Any], detail: dict[str, Any]) -> None:
        told = NewEvent("policy.denied", {"key": asked.key, **detail}, level="warning", error_type="denied")
        beside = [Append(self.task.id, told, self._token)]
        await self.append("step.failed", asked, error=error, duration_s=0.0, beside=beside)

    def spawned(self, key: str) -> bool:
        return key in self.history.children

    async def progress(self, data: dict[str, Any]) -> None:
        self._open()
        await self.pulse.progress(data, self._show, self._record_progress)

    def report(self, data: dict[str, Any]) -> None:
        if not self.closed:
            self.pulse.report(data, self._show)

    def aside(self, key: str, usage: Usage) -> None:
        self.history.asides[key] = usage

    def _show(self, data: dict[str, Any]) -> None:
        self._store.publish([TaskDelta(self.task.id, data)])

    async def _record_progress(self, data: dict[str, Any]) -> None:
        await self._commit_here([Append(self.task.id, NewEvent("task.progress", data, level="debug"), self._token)])

    async def emit(self, asked: Asked, data: dict[str, Any]) -> None:
        self._open()
        known = self.history.emitted.get(asked.key)
        if known is not None:
            check_same(asked, known.name, known.digest)
            return
        check_unlike(asked, self.history.ends)
        body = {**data, "key": asked.key, "digest": asked.digest}
        level: Level = "warning" if asked.name in WARNINGS else "info"
        await self._commit_here([Append(self.task.id, NewEvent(asked.name, body, level), self._token)])

    async def take(self, takes: Sequence[Take], asked: Asked | None = None) -> None:
        self._open()
        operations: list[Operation] = list(takes)
        if asked is not None:
            data = {"key": asked.key, "kind": asked.kind, "name": asked.name, "digest": asked.digest, "result": None}
            operations.append(Append(self.task.id, NewEvent("step.done", {**data, "duration_s": 0.0}), self._token))
        if operations:
            await self._commit_here(operations)

    def owe(self, takes: Sequence[Take]) -> None:
        self._owed += takes

    def delta(self, delta: ModelDelta) -> None:
        self.pulse.beat()
        data = {"kind": delta.kind, "text": delta.text} | ({"tool": delta.tool} if delta.tool else {})
        self._show(data)

    def alive(self, delta: ModelDelta) -> None:
        self.pulse.beat()

    # -- writing -------------------------------------------------------------------------------------------------------

    def commit(self, operations: Sequence[Operation]) -> Coroutine[Any, Any, Receipt]:
        """Commit under the lease, for the worker. Raises: Interrupted: the store refuses or fails, now or before.
        InvalidInput: too large to be kept; nothing was written. Limited: a rate is spent; nothing was written."""
        return self._commit(Batch(operations))

    async def _commit(self, batch: Batch) -> Receipt:
        if self._broken is not None:
            raise self._broken
        try:
            return await self._store.commit(batch)
        except Limited:
            raise
        except StoreError as error:
            lost = isinstance(error, Conflict)
            if not lost:
                refuse_oversize(batch.operations)
            self.uncertain = not lost
            self._broken = Interrupted(f"Task {self.task.id} stops in this process: {error}")
            raise self._broken from error

    def _commit_here(self, operations: Sequence[Operation]) -> Coroutine[Any, Any, Receipt]:
        """Commit for the run, which may be past its end."""
        if self.closed:
            raise self._over()
        self.pulse.beat()
        return self.commit(operations)

    def append(
        self, type: str, asked: Asked, *, beside: Sequence[Operation] = (), **data: Any
    ) -> Coroutine[Any, Any, Receipt]:
        body = {"key": asked.key, "kind": asked.kind, "name": asked.name, "digest": asked.digest, **data}
        if "error" in data:
            event = NewEvent(type, body, level="warning", error_type=data["error"]["type"])
        else:
            event = NewEvent(type, body)
        operations = [self.line(event), *beside, *self._owed]
        self._owed = []
        return self._commit_here(operations)

    def line(self, event: NewEvent) -> Append:
        return Append(self.task.id, event, self._token)

    async def write(self, operations: Sequence[Operation]) -> None:
        await self._commit_here(operations)

    async def offer(self, event: NewEvent, beside: Sequence[Operation]) -> bool:
        if self.closed:
            raise self._over()
        if self._broken is not None:
            raise self._broken
        try:
            await self._store.commit(Batch([Append(self.task.id, event, self._token), *beside]))
        except Conflict:
            return False
        except StoreError as error:
            self._broken = self._unreadable(error)
            raise self._broken from error
        return True

    async def accept(self, handler: str, input: Any) -> Any:
        """The input to record for a child. Raises: NotFound, InvalidInput; Interrupted: the store failed."""
        try:
            return await self._accepts(handler, input)
        except StoreError as error:
            raise self._unreadable(error) from error

    def _open(self) -> None:
        if self.closed:
            raise self._over()
        if self.halt is not None:
            raise self.halt

    def _over(self) -> Interrupted:
        return Interrupted(
            f"This run of task {self.task.id} is over here: its code has ended, or it goes on elsewhere."
        )
