"""One life of a run: from the claim of its task to the commit that ends the claim.

A life ends by one of these verdicts, and each is one fenced commit: the body ended; every branch waits (park); somebody
asked to cancel; the time is up; the run must halt; the worker stops (release); the lease is lost (no commit at all).

A body that ended by itself decides. One that had to be unwound does not, whatever it returns or raises while it is
unwound: it may have swallowed its cancellation. And a run that must halt (a mismatch, a doubt, a store that fails)
halts even if its code caught the halt and went on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from loguru import logger

from opspawn import details
from opspawn.agentkit.branches import Branches
from opspawn.agentkit.context import Context
from opspawn.agentkit.failures import error_to_json, spared
from opspawn.agentkit.plain import plain_json
from opspawn.contracts.clock import Clock
from opspawn.contracts.run import Handler
from opspawn.contracts.store import Lease, Operation, Put, Store, Task, TaskState
from opspawn.errors import (
    Halt,
    InDoubt,
    Interrupted,
    InvalidInput,
    JournalMismatch,
    Lacking,
    StepFailed,
    StepTimeout,
    StoreError,
)
from opspawn.logs import traceback_text
from opspawn.ops import transitions
from opspawn.ops.children import cancel_children
from opspawn.ops.deadlines import missed, time_left, within
from opspawn.ops.engine.doubts import describe
from opspawn.ops.pauses import pause_below, undo_if_called_off
from opspawn.ops.question_records import withdraw
from opspawn.ops.retry_plans import plan_of
from opspawn.ops.run import failing
from opspawn.ops.run.history import RESTING, UNWINDING
from opspawn.ops.run.journal import Journal
from opspawn.ops.sizes import result_too_large

#: A run that only waits for a timer this short stays where it is instead of parking, in seconds.
RESIDENT_S = 1.0
#: How many turns of the event loop a branch that was let go may need until it goes on.
_TURNS = 8
#: How long user code may take to unwind before it is left behind, in seconds.
UNWIND_S = 5.0
#: When a task is tried again that could not go on because the store failed, in seconds.
GIVE_BACK_S = 1.0
#: How long a task rests, at least and at most, that found a worker without what it needs.
LACKING_S = 0.5
LACKING_MOST_S = 15.0
#: While children end on request, how often their parent asks those again that halted meanwhile, in seconds.
ASK_AGAIN_S = 30.0


class Life:
    """A claimed task in this process. `halt_grace_s` is how long, in seconds, the steps in flight of a run that must
    halt may take to end.
    """

    def __init__(self, store: Store, lease: Lease, journal: Journal, handler: Handler, *, halt_grace_s: float) -> None:
        self.task: Task = lease.task
        self.journal = journal
        self._clock = journal.clock
        self.branches = Branches(self._went_idle)
        self._store = store
        self._handler = handler
        self._halt_grace_s = halt_grace_s
        self._verdict: str | None = None
        self._idle = False
        self._releases = self._settled = 0
        self._stopping = False
        self._pausing = False
        self._unwinds = False
        self._news = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._orphans: list[str] = []
        self._looked: int | None = None
        self._idle_s = 0.0
        self._deadline = self._out_of_time()
        self._seen = journal.wakes
        journal.on_halt = self._must_halt
        journal.on_release = self._was_released
        journal.on_news = self.hear

    def decide(self, verdict: str) -> None:
        """End this life: "cancel", "release" or "lost". The first word counts."""
        if self._verdict is None:
            self._verdict = verdict
            self._news.set()

    def hear(self) -> None:
        """There are news in the journal that may be for this life as a whole."""
        if self.journal.history.cancel_requested:
            self.decide("cancel")
        elif self.journal.history.pause_requested and not self._pausing:
            self._pausing = True
            self.branches.drain()

    def close(self) -> None:
        """It is over: whoever still has a part of it can do nothing more."""
        self.journal.close()
        self.branches.on_idle = None

    def drain(self) -> None:
        """Begin no further step, and give the task back once no step is in flight."""
        self._stopping = True
        self.branches.drain()

    async def run(self) -> Sequence[Operation]:
        """Run until a verdict; return the batch that records it, empty when there is nothing to write.

        Raises: Interrupted: the store refuses or fails, or the lease is lost. StoreError: it could not be read.
        """
        await self.journal.open_books()
        operations = await self._live()
        return operations if self._unwinds else within(operations, time_left(self.task, self._clock))

    async def _live(self) -> Sequence[Operation]:
        if self.journal.history.cancel_requested:
            return await self._unwind()
        left = time_left(self.task, self._clock)
        if left is not None and left <= 0:
            return await self._expire()
        if self.journal.history.pause_requested:
            return await self._paused()
        if self.journal.history.fell_back:
            return failing.after_fallback(self.journal)
        if (rest := self._rest_s()) > 0:
            return transitions.park(self.task, rest, self._seen, RESTING, needs=None)
        body = asyncio.ensure_future(self._body())
        if self._deadline is not None:
            self._later(self._deadline - self._clock.monotonic(), "timeout")
        if left is not None:
            self._later(left, "deadline")
        if (idle_s := plan_of(self.task).idle_timeout_s) is not None:
            self._watch(idle_s)
        try:
            verdict = await self._await_verdict()
            due, what, needs = self._waits() if verdict == "idle" else (None, "", 1)
            self._seen = self.journal.wakes  # news that come from now on are not for this life
            if body.done() and verdict != "lost":
                verdict = "ended"
        finally:  # before anything else gets a turn, so that a branch which was just released does not begin a step
            self.journal.closed = self.branches.closed = True
            for timer in self._timers:
                timer.cancel()
            if not body.done():
                await _close(body, self.task, self._clock)
            if body.done() and not body.cancelled():
                body.exception()  # whatever it says while it is unwound is of no account
            await self.journal.settle()
        return await self._sentence(verdict, body, due, what, needs)

    async def conclude(self, operations: Sequence[Operation]) -> Task | None:
        """Commit what `run` returned; the task, if that has ended it. Raises: Interrupted. StoreError: the task has
        ended, but not all of its children were told."""
        ended = _ended(operations)
        told = ended is not None and ended.state is not TaskState.CANCELLED
        last_words = self.journal.last_words if told else ()
        try:
            receipt = await self.journal.commit([*last_words, *self._closing(operations, ended)])
        except InvalidInput as error:
            if ended is None or ended.result is None:
                operations = await self.condemn(error_to_json(error))
            else:
                operations = await self._failed(result_too_large(self.task, ended.result))
            ended = _ended(operations)
            receipt = await self.journal.commit(self._closing(operations, ended))
        if self._orphans:
            await cancel_children(self._store, self._orphans, tell=False)
        if self._looked is not None:
            await undo_if_called_off(self._store, self.task.id, self._looked, self._clock)
        open_questions = self.journal.history.mail.open_questions
        if open_questions and ended is not None:
            await withdraw(self._store, open_questions)
        return None if ended is None else transitions.as_ended(ended, receipt.time)

    def _closing(self, operations: Sequence[Operation], ended: Task | None) -> Sequence[Operation]:
        """With what the task used, if it ends."""
        return operations if ended is None else self.journal.closing(operations)

    async def _body(self) -> Any:
        try:
            return await self._handler(self._context())
        except Halt:
            raise
        except (SystemExit, KeyboardInterrupt) as error:  # must not end the worker
            raise spared(error, self.task.handler) from error
        except Exception as error:
            details.debug("The run raised", task=self.task.id, agent=self.task.agent, exception=traceback_text(error))
            raise
        finally:  # it is done by the time that anybody hears of it
            self.decide("ended")

    def _context(self) -> Context:
        context = Context(
            self.journal,
            name=self.task.agent or self.task.handler.split("/", 1)[1],
            input=self.task.input,
            task=self.task.id,
            session=self.task.session,
            branches=self.branches,
        )
        context.attempt = self.task.attempt
        context.overrides = plan_of(self.task).overrides
        return context

    # -- the verdict ---------------------------------------------------------------------------------------------------

    def _went_idle(self) -> None:
        self._idle = True
        self._news.set()

    def _was_released(self) -> None:
        """A branch goes on at its next turn: what was told of idleness before is void."""
        self._idle = False
        self._releases += 1

    def _must_halt(self) -> None:
        self._later(self._halt_grace_s, "halt")

    def _later(self, seconds: float, verdict: str) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(max(0.0, seconds), self.decide, verdict))

    def _watch(self, idle_s: float) -> None:
        """Look whether the run still moves, whenever it would have been still for too long."""
        quiet = self._clock.monotonic() - self.journal.pulse.last
        if quiet >= idle_s:
            self._idle_s = idle_s
            self.decide("stuck")
        else:
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(max(0.01, idle_s - quiet), self._watch, idle_s))

    async def _await_verdict(self) -> str:
        while self._verdict is None:
            await self._news.wait()
            self._news.clear()
            if self._verdict is None and self._idle:
                self._idle = False
                if self.branches.idle and not self._stays() and await self._stays_idle():
                    return "idle"
        return self._verdict

    async def _stays_idle(self) -> bool:
        """Whether no branch is on its way to go on: one that was let go needs a few turns of the loop until it does.

        Who parks in between parks with news that it has seen and not taken, and nothing would wake it for them.
        """
        releases = self._releases
        if releases == self._settled:
            return True
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._settled = releases
        return self._releases == releases and self._verdict is None and self.branches.idle

    def _stays(self) -> bool:
        """Whether the run waits only for a moment, which is cheaper to wait out than to park."""
        soonest = self.branches.soonest
        if self._stopping or self._pausing or self.journal.halt is not None or soonest is None:
            return False
        return self.branches.only_timers and soonest - self._clock.time() < RESIDENT_S

    def _waits(self) -> tuple[float | None, str, int]:
        """In how many seconds a waiting run has something to do by itself, what it waits for, and its `needs`."""
        soonest = self.branches.soonest
        waits = [] if soonest is None else [soonest - self._clock.time()]
        if self._deadline is not None:
            waits.append(self._deadline - self._clock.monotonic())
        return (max(0.0, min(waits)) if waits else None), self.branches.what, self.branches.needs

    def _rest_s(self) -> float:
        """How long it is until the next attempt is due, for a run that an urgent wake has called too early."""
        rests_until, now = self.journal.history.rests_until, self.task.updated
        return 0.0 if rests_until is None or now is None else (rests_until - now).total_seconds()

    def _out_of_time(self) -> float | None:
        """When the attempt is out of time, monotonic; it began with its first claim, by the store's clock."""
        task, began = self.task, self.journal.history.began
        if task.timeout_s is None:
            return None
        spent = (task.updated - began).total_seconds() if task.updated is not None and began is not None else 0.0
        return self._clock.monotonic() + task.timeout_s - spent

    # -- the sentence --------------------------------------------------------------------------------------------------

    async def _sentence(
        self, verdict: str, body: asyncio.Task[Any], due_in_s: float | None, what: str, needs: int
    ) -> Sequence[Operation]:
        task = self.task
        if verdict == "lost":
            logger.bind(task=task.id, agent=task.agent, error_type="interrupted").warning(
                "The lease of the task is lost."
            )
            return []
        if verdict == "cancel":
            return await self._unwind()
        if self.journal.halt is not None:
            return await self._halted(self.journal.halt)
        if verdict == "ended":
            return await self._ended(body)
        if verdict == "timeout":
            return await self._failed(StepTimeout(f"The task did not end within {task.timeout_s:g} s."))
        if verdict == "deadline":
            return await self._expire()
        if verdict == "stuck":
            return await self._failed(StepTimeout(f"The task made no progress for {self._idle_s:g} s."))
        if verdict == "idle" and self._pausing:
            return await self._paused()
        if verdict == "idle" and not self._stopping:
            return transitions.park(task, due_in_s, self._seen, what, needs)
        return transitions.release(task)

    async def _ended(self, body: asyncio.Task[Any]) -> Sequence[Operation]:
        task = self.task
        if body.cancelled():
            return await self._failed(StepFailed(f"The code of {task.handler} cancelled itself."))
        error = body.exception()
        if error is None:
            error = self.journal.unasked.first()  # guard: what is in doubt is not forgotten with the code that did it
        if error is None:
            try:
                return transitions.succeed(task, plain_json(body.result()))
            except (ValueError, RecursionError) as fault:
                words = f"The result of {task.handler} cannot be expressed in JSON: {fault}"
                return await self._failed(StepFailed(words, error_type="invalid_output"))
        if isinstance(error, Halt):
            return await self._halted(error)
        if isinstance(error, StoreError):  # something outside the journal could not be read
            logger.bind(task=task.id, agent=task.agent, error_type=error.error_type).warning("{}", error)
            return transitions.release(task, GIVE_BACK_S)
        return await self._failed(error)

    async def _halted(self, halt: Halt) -> Sequence[Operation]:
        if isinstance(halt, Interrupted):
            raise halt
        await self.journal.look()
        if self.journal.history.cancel_requested:
            return await self._unwind()
        if isinstance(halt, Lacking):
            logger.bind(task=self.task.id, agent=self.task.agent, error_type=halt.error_type).warning("{}", halt)
            return transitions.release(self.task, self._rest_of_lacking(), lacks=(halt.kind, halt.name))
        error = error_to_json(halt)
        if isinstance(halt, InDoubt):
            await self.journal.refresh(self.journal.wakes)  # what was begun and cut off in this life is in doubt, too
            detail = describe(halt, self.journal.history, self.journal.identity)
            return transitions.halt(self.task, TaskState.IN_DOUBT, error, detail)
        detail = {"key": halt.key} if isinstance(halt, JournalMismatch) else {}
        return transitions.halt(self.task, TaskState.PAUSED, error, detail)

    def _rest_of_lacking(self) -> float:
        """The older the task, the longer until somebody looks whether they have what it needs, in seconds."""
        created, now = self.task.created, self.task.updated
        age = 0.0 if created is None or now is None else (now - created).total_seconds()
        return min(LACKING_MOST_S, max(LACKING_S, age / 10))

    async def _paused(self) -> Sequence[Operation]:
        await self.journal.look()
        history = self.journal.history
        if history.cancel_requested:
            return await self._unwind()
        if not history.pause_requested:  # resumed meanwhile
            return transitions.release(self.task)
        by, root = history.paused_by, history.paused_with
        if history.unfinished_children:  # those that it made since it was asked
            await pause_below(self._store, self.task.id, root or self.task.id, by, self._clock)
        self._looked = history.position
        return transitions.paused(self.task, by, root)

    async def _failed(self, error: BaseException) -> Sequence[Operation]:
        later = failing.try_later(self.journal, error, self._seen)
        return later if later is not None else await self.condemn(error_to_json(error))

    async def condemn(self, error: dict[str, Any]) -> Sequence[Operation]:
        """No attempt is left. Raises: Interrupted."""
        self._orphans = self.journal.history.unfinished_children
        return await failing.give_up(self.journal, error, self._orphans)

    async def _expire(self) -> Sequence[Operation]:
        """The time of the whole tree is up: its children end first."""
        fell_back = self.journal.history.fell_back  # the attempts were counted then
        failed = self.task.attempt + (not fell_back)
        return await self._unwind(transitions.fail(self.task, error_to_json(missed()), failed))

    async def _unwind(self, end: Sequence[Operation] | None = None) -> Sequence[Operation]:
        """End, by default cancelled, children first: ask them, and wait parked until all have ended."""
        history = self.journal.history
        if history.unfinished_children:
            await cancel_children(self._store, history.unfinished_children, tell=not history.unwinding)
            await self.journal.look()
        if left := len(history.unfinished_children):
            self._unwinds = True  # its deadline has nothing more to say: due at once, it would come back without end
            return transitions.park(self.task, ASK_AGAIN_S, self.journal.wakes, UNWINDING, needs=left)
        return end or transitions.cancelled(self.task)


def _ended(operations: Sequence[Operation]) -> Task | None:
    """The task that these operations end, as they leave it; None if they end none."""
    for operation in operations:
        if isinstance(operation, Put) and isinstance(operation.record, Task) and operation.record.state.terminal:
            return operation.record
    return None


async def _close(body: asyncio.Task[Any], task: Task, clock: Clock) -> None:
    """Unwind user code; what does not end in time is left behind, unable to act."""
    deadline = clock.monotonic() + UNWIND_S
    while not body.done() and clock.monotonic() < deadline:
        body.cancel()
        await asyncio.wait({body}, timeout=0.5)
    if not body.done():
        logger.bind(task=task.id, agent=task.agent).error(
            "The code of the task ignores its cancellation and is left behind."
        )
