"""A worker: claims due tasks up to its slots, lives each one's life, keeps its leases, hears the news, and stops
gracefully.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from loguru import logger

from opspawn import details
from opspawn.agentkit.deciding import Policies
from opspawn.agentkit.rates import Rates
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event
from opspawn.contracts.run import Handler
from opspawn.contracts.store import CLAIMED_AT_ONCE, Batch, Claim, Lease, Operation, Store, Task, TaskState
from opspawn.contracts.waker import Waker
from opspawn.errors import Interrupted, NotFound, StoreError
from opspawn.logs import traceback_text
from opspawn.ops import transitions
from opspawn.ops.presence import Presence
from opspawn.ops.retry_plans import plan_of
from opspawn.ops.run.blocking import LoopWatch
from opspawn.ops.run.damage import Damaged, check_events, check_task, fail
from opspawn.ops.run.heart import HASTE, Heart
from opspawn.ops.run.history import History
from opspawn.ops.run.journal import Accepts, Journal
from opspawn.ops.run.life import GIVE_BACK_S, UNWIND_S, Life
from opspawn.ops.run.news import News
from opspawn.ops.run.offspring import Holds
from opspawn.ops.run.poison import NO_PROCESS, GivenBack, Isolate, Quarantine, rest_s, suspect, verdict
from opspawn.ops.run.store_time import StoreTime
from opspawn.ops.unserved import tell_unserved

#: How many runs that are to end a worker takes beside its slots: the slots may be held by their own children.
_ENDING_BESIDE = 8
#: How long, in seconds, a worker that stops asks a store that gives work to give it no more.
_DECLINE_S = 2.0


@dataclass(frozen=True)
class WorkerOptions:
    """`slots` tasks at once from `queues`; leases of `lease_s` seconds; a look into the store at least every `poll_s`
    seconds; on `stop`, tasks get `drain_s` seconds to reach their next step before they are given back. Code that
    blocks the event loop for `blocked_s` seconds is reported."""

    queues: Sequence[str] = ("default",)
    slots: int = 128
    lease_s: float = 30.0
    poll_s: float = 1.0
    drain_s: float = 25.0
    blocked_s: float = 5.0


class Worker:
    """Runs tasks until `stop`.

    `handlers` maps "agent/NAME" and the like to what runs them; other handlers are not claimed. `accepts` checks what
    runs ask of children, by default that this worker knows the handler. `isolate` makes processes for tasks that are
    suspected to kill their workers, or says in a sentence why it cannot. `ended` hears of each task that ended here.
    """

    def __init__(
        self,
        store: Store,
        waker: Waker,
        handlers: Mapping[str, Handler],
        options: WorkerOptions | None = None,
        *,
        accepts: Accepts | None = None,
        id: str | None = None,
        isolate: Isolate | str = NO_PROCESS,
        clock: Clock = SYSTEM_CLOCK,
        rates: Rates | None = None,
        policies: Policies | None = None,
        holds: Holds = lambda handler: (),
        ended: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self.id = id or f"w-{uuid4().hex[:12]}"
        self._store = store
        self._waker = waker
        self._handlers = handlers
        self._accepts = accepts or self._accept_known
        self._options = options or WorkerOptions()
        self._clock = clock
        self._rates = rates or Rates()
        self._policies = policies or Policies()
        self._holds = holds
        self._ended = ended
        self._lives: dict[str, Life] = {}
        self._runs: dict[asyncio.Task[None], tuple[str, int]] = {}
        self._ending = 0  # of the runs, those whose last commit is under way: their slots are free
        self._more_ending = False  # whether more may be to end than was taken beside the slots
        self._latest: dict[str, asyncio.Task[None]] = {}  # of the runs of a task, by its id
        self._look = asyncio.Event()
        self._room = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._news = News(store, self._lives)
        self._heart = Heart(store, self.id, self._options.lease_s, self._leases, self._lost, clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._quarantine = Quarantine(self.id, isolate)
        self._watch = LoopWatch(store, self._options.blocked_s, clock)
        self._alone = False
        self._unforeseen: BaseException | None = None

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop` is called, then drain. Store failures are logged and retried with a growing pause."""
        self._loop = asyncio.get_running_loop()
        give_to = None if self._alone else getattr(self._store, "give_to", None)
        if give_to is not None:
            give_to(self.id, self._look.set)
        self._heart.start()
        self._watch.start()
        listener = asyncio.create_task(self._listen())
        news = asyncio.create_task(self._news.run())
        asking = tell_unserved(self._store, self._options.queues, self._handlers, self._clock)
        teller = asyncio.create_task(asking)
        presence = None if self._alone else self._presence()
        telling = None if presence is None else asyncio.create_task(presence.run())
        longest = HASTE * self._options.lease_s  # so that a fence is noticed in time
        pause = shortest = min(0.1, longest)
        try:
            while not self.stopping and (self._runs or not self._alone):
                self._look.clear()
                self._fence()
                try:
                    more = await self._claim()
                    pause = shortest
                except StoreError as error:
                    logger.bind(error_type=error.error_type).error("The store failed; trying again: {}", error)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stop_asked.wait(), pause)
                    pause = min(pause * 2, longest)
                    continue
                if not more:
                    await self._look.wait()
            if give_to is not None:
                await self._decline()
            if presence is not None and self._runs:
                presence.changed()
            await self._drain()
        finally:
            for task in (listener, news, teller, *self._runs):
                task.cancel()
            await asyncio.gather(listener, news, teller, *self._runs, return_exceptions=True)
            if telling is not None:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
            self._watch.stop()
            await self._heart.aclose()

    async def run_alone(self, task: Task, clock: Clock) -> None:
        """Live one life of a task that was claimed under the name of this worker, and claim nothing.

        Raises: what ended it in an unforeseen way, so that the process tells by its end that the task is not done.
        """
        self._alone = True
        self._heart.leased()
        self._begin(Lease(task), clock)
        await self.run()
        if self._unforeseen is not None:
            raise self._unforeseen

    def stop(self) -> None:
        """Claim nothing more; let what runs reach its next step; give it back. A second call gives back at once."""
        if self.stopping:
            for life in self._lives.values():
                life.decide("release")
            self._quarantine.kill()
        for life in self._lives.values():
            life.drain()
        self._stop_asked.set()
        self._look.set()

    def expect(self, queue: str) -> None:
        """Work for a queue is about to be committed in this process: a claim that is asked for now can come with it in
        one commit.
        """
        if queue in self._options.queues and self._free > 0:
            self._look.set()

    def has(self, task: str) -> bool:
        """Whether it has claimed a task and not ended the claim."""
        return task in self._latest

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop_asked.is_set()

    @property
    def running(self) -> int:
        """How many tasks hold a slot now."""
        return len(self._runs)

    @property
    def drain_s(self) -> float:
        """How long a stop may take from now on, in seconds, until what runs is given back."""
        return self._options.drain_s if self._runs else 0.0

    def _presence(self) -> Presence:
        return Presence(
            self._store,
            self.id,
            queues=self._options.queues,
            handlers=self._handlers,
            slots=self._options.slots,
            now=lambda: (self.running, self.stopping),
            clock=self._clock,
        )

    async def _listen(self) -> None:
        queues = tuple(self._options.queues)
        while True:
            try:
                if len(self._runs) < self._options.slots:
                    await self._waker.wait(queues, self._options.poll_s)
                else:  # a hint that this worker cannot follow belongs to others
                    self._room.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._options.poll_s):
                            await self._room.wait()
            except Exception as error:  # a hint less costs latency, never work
                logger.bind(exception=traceback_text(error), error_type=type(error).__name__).error(
                    "The waker failed; looking every {} s", self._options.poll_s
                )
                await asyncio.sleep(self._options.poll_s)
            self._look.set()
            self._news.rung.set()

    @property
    def _free(self) -> int:
        return self._options.slots - len(self._runs) + self._ending

    async def _claim(self) -> bool:
        """Claim up to the free slots; whether to claim again at once: not if the store gave less than was asked and
        than it gives at once, nor for what is to end beside slots that have just become full.
        """
        free = self._free
        ending_only = free <= 0
        if ending_only:
            free += _ENDING_BESIDE
        if free <= 0 or not self._handlers or self._alone:
            return False
        more = await self._take(free, ending_only=ending_only) >= min(free, CLAIMED_AT_ONCE)
        self._more_ending = ending_only and more
        return more and (ending_only or self._free > 0)

    async def _take(self, slots: int, *, ending_only: bool = False) -> int:
        """Claim so many tasks at most, and begin them; how many."""
        if not self._runs:
            self._heart.leased()
        elif self._heart.fenced:
            return 0
        queues, handlers = tuple(self._options.queues), tuple(self._handlers)
        leases = await self._store.claim(
            Claim(self.id, queues, handlers, slots, self._options.lease_s, ending_only=ending_only)
        )
        received = self._clock.monotonic()
        for lease in leases:
            self._begin(lease, StoreTime(self._clock, lease.task.updated, received))
        return len(leases)

    def _begin(self, lease: Lease, clock: Clock) -> None:
        id = lease.task.id
        run = asyncio.create_task(self._run(lease, clock, self._latest.get(id)), name=id)
        self._runs[run] = (id, lease.token)
        self._latest[id] = run
        run.add_done_callback(self._freed)

    def _freed(self, run: asyncio.Task[None]) -> None:
        id, _ = self._runs.pop(run)
        if self._latest.get(id) is run:  # one that is cancelled while it waits for the former one ends before it
            del self._latest[id]
        room = self._options.slots - len(self._runs)
        if self._alone or room == 1 or (room < 0 and self._more_ending):  # the first slot, or more that is to end
            self._look.set()
        if room > 0:
            self._room.set()
        if not run.cancelled() and (error := run.exception()) is not None:
            if self._alone:
                self._unforeseen = error
            logger.bind(task=id, exception=traceback_text(error), error_type=type(error).__name__).error(
                "A run of task {} ended in an unforeseen way; it comes back by itself", id
            )

    async def _decline(self) -> None:
        """Be given nothing more; what was given while this stopped is begun, and so given back as all that runs is."""
        with suppress(StoreError, TimeoutError):  # the leases of what was given end by themselves
            async with asyncio.timeout(_DECLINE_S):
                await self._take(0)

    async def _drain(self) -> None:
        for life in self._lives.values():
            life.drain()
        self._quarantine.stop()
        deadline = self._clock.monotonic() + self._options.drain_s
        while self._runs and self._clock.monotonic() < deadline:
            await asyncio.wait(set(self._runs), timeout=min(0.25, self._options.drain_s))
        for life in list(self._lives.values()):
            life.decide("release")
        self._quarantine.kill()
        if self._runs:
            await asyncio.wait(set(self._runs), timeout=UNWIND_S + 1.0)

    async def _accept_known(self, handler: str, input: Any) -> Any:
        if handler in self._handlers:
            return input
        kind, _, name = handler.partition("/")
        raise NotFound(kind, name) if name else NotFound("handler", handler)

    # -- leases --------------------------------------------------------------------------------------------------------

    def _leases(self) -> list[tuple[str, int]]:
        return list(self._runs.values())

    def _fence(self) -> None:
        """Leases that could not be renewed may be somebody else's by now."""
        if self._heart.fenced:
            for life in self._lives.values():
                life.decide("lost")

    def _lost(self, leases: Sequence[tuple[str, int]]) -> None:
        """Called by the heart, in its thread."""

        def tell() -> None:
            for task, token in leases:
                life = self._lives.get(task)
                if life is not None and life.task.token == token:
                    life.decide("lost")
                self._quarantine.lost(task, token)

        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(tell)

    # -- one life of a run ---------------------------------------------------------------------------------------------

    async def _run(self, lease: Lease, clock: Clock, former: asyncio.Task[None] | None) -> None:
        task = lease.task
        try:
            if former is not None:
                await self._end_former(task, former)
            journal = await self._open_journal(lease, clock)
        except Damaged as damaged:
            await self._fail_damaged(task, damaged)
            return
        except StoreError as error:
            logger.bind(task=task.id, error_type=error.error_type).error("The journal could not be read: {}", error)
            await self._give_back(task)
            return
        if journal is None:
            details.debug("The task waits until the generation before it has ended", task=task.id)
            await self._give_back(task)
            return
        life = Life(self._store, lease, journal, self._handlers[task.handler], halt_grace_s=self._options.drain_s)
        self._lives[task.id] = life
        if self.stopping:
            life.drain()
        ended: Task | None = None
        try:
            if suspect(journal.history) and not self._alone:
                operations = await self._try_alone(lease, life)
            else:
                operations = await life.run()
            if operations:
                ended = await self._conclude(life, operations)
        except (Interrupted, StoreError) as error:
            logger.bind(task=task.id, agent=task.agent, error_type=error.error_type).warning("{}", error)
            if journal.uncertain or isinstance(error, StoreError):
                await self._give_back(task)
        finally:
            life.close()
            if self._lives.get(task.id) is life:
                del self._lives[task.id]
            if ended is None or task.parent is not None or task.holds or ended.state is not TaskState.SUCCEEDED:
                self._waker.ring(task.queue)  # the task, its parent, its children, or whoever waits for its places

    async def _conclude(self, life: Life, operations: Sequence[Operation]) -> Task | None:
        """Commit what ends the claim; its slot goes to the next task in the same commit, if there is one. The task, if
        that has ended it.
        """
        if self._free == 0:
            self._look.set()
        self._ending += 1
        try:
            ended = await life.conclude(operations)
        finally:
            self._ending -= 1
        if ended is not None:
            self._ended(ended)
        return ended

    async def _try_alone(self, lease: Lease, life: Life) -> Sequence[Operation]:
        """Run a suspect in a process of its own; what is to be committed if that did not end the claim."""
        task, journal = lease.task, life.journal
        if (rest := rest_s(journal.history, journal.clock.time())) > 0:
            return transitions.release(task, rest, deliveries=task.deliveries)
        logger.bind(task=task.id, agent=task.agent, error_type="poison").warning(
            "The task has ended its workers {} times without progress; it is run alone",
            len(journal.history.losses.lost),
        )
        try:
            died = await self._quarantine.run(lease, journal)
        except GivenBack:
            return transitions.release(task, deliveries=task.deliveries)
        if died is None:
            return []
        await journal.refresh(journal.wakes)
        return await life.condemn(verdict(task, journal.history, died))

    async def _end_former(self, task: Task, former: asyncio.Task[None]) -> None:
        """This worker lost the task and got it again: let the life that does not know it yet end first."""
        life = self._lives.get(task.id)
        if life is not None:
            life.decide("lost")
        await asyncio.wait({former})

    async def _open_journal(self, lease: Lease, clock: Clock) -> Journal | None:
        """The journal of a claimed task; None while the generation whose work it inherits has not ended.

        Raises: Damaged: the task or its journal cannot be read. StoreError.
        """
        task, store = lease.task, self._store
        check_task(task)
        generations: list[Sequence[Event]] = []
        identity, before = task.id, None if plan_of(task).from_scratch else task.retry_of
        while before is not None:
            older = await store.get_task(before)
            if older is not None and not older.state.terminal:
                return None
            generations.insert(0, await self._events(before))
            identity, before = before, None if older is None or plan_of(older).from_scratch else older.retry_of
        history = History(*generations)
        never_ran = task.version == 1 and task.wakes == 0 and task.deliveries == 0
        if not never_ran:
            history.absorb(await self._events(task.id))
        return Journal(
            store,
            lease,
            history,
            identity=identity,
            accepts=self._accepts,
            ring=self._waker.ring,
            may_act=self._heart.check,
            clock=clock,
            rates=self._rates,
            policies=self._policies,
            holds=self._holds,
        )

    async def _events(self, task: str) -> Sequence[Event]:
        events = await self._store.journal(task)
        check_events(events)
        return events

    async def _fail_damaged(self, task: Task, damaged: Damaged) -> None:
        try:
            await fail(self._store, task, damaged)
        except StoreError as error:
            logger.bind(task=task.id, error_type=error.error_type).warning("{}", error)
            await self._give_back(task)
        else:
            self._waker.ring(task.queue)  # whoever waits for it

    async def _give_back(self, task: Task) -> None:
        """The task could not go on here for now. If this fails too, it comes back when its lease ends."""
        try:
            await self._store.commit(Batch(transitions.release(task, GIVE_BACK_S)))
        except StoreError as error:
            details.debug("The task could not be given back: {}", error, task=task.id, error_type=error.error_type)
