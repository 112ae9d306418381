"""A worker: claims due tasks, runs them with a journaling context, and commits how each life of a run ended.

One life of a run ends in one of these verdicts, and each is one fenced commit: the body returned or raised; every branch waits
(park); somebody asked to cancel; the time is up; the worker stops (release); the lease is lost (no commit at all).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from loguru import logger
from pydantic_core import to_jsonable_python

from opspawn.agentkit.branches import Branches
from opspawn.agentkit.context import Context
from opspawn.agentkit.failures import error_to_json
from opspawn.agentkit.log import backoff_s
from opspawn.contracts.events import Event
from opspawn.contracts.run import Handler, RetryPolicy
from opspawn.contracts.store import Claim, Lease, LeaseStatus, Operation, Store, Task, TaskState
from opspawn.contracts.waker import Waker
from opspawn.errors import Halt, InDoubt, Interrupted, JournalMismatch, StepTimeout, StoreError
from opspawn.ops import transitions
from opspawn.ops.heart import Heart
from opspawn.ops.journal import Journal

#: A run that only waits for a timer this short stays where it is instead of parking, in seconds.
RESIDENT_S = 1.0
#: How long user code may take to unwind before it is left behind, in seconds.
UNWIND_S = 5.0


@dataclass(frozen=True)
class WorkerOptions:
    """`slots` tasks at once from `queues`; leases of `lease_s` seconds; a look into the store at least every `poll_s`
    seconds; on `stop`, tasks get `drain_s` seconds to reach their next step before they are given back."""

    queues: Sequence[str] = ("default",)
    slots: int = 64
    lease_s: float = 30.0
    poll_s: float = 1.0
    drain_s: float = 25.0


@dataclass
class _Held:
    """A task that this worker runs."""

    lease: Lease
    journal: Journal
    branches: Branches
    verdict: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    body: asyncio.Task[Any] | None = None
    soonest: float | None = None
    waits_for: str = "children"

    def decide(self, verdict: str) -> None:
        if not self.verdict.done():
            self.verdict.set_result(verdict)


class Worker:
    """Runs tasks until `stop`. `handlers` maps "agent/NAME" and the like to what runs them; other handlers are not claimed."""

    def __init__(
        self,
        store: Store,
        waker: Waker,
        handlers: Mapping[str, Handler],
        options: WorkerOptions | None = None,
        *,
        id: str | None = None,
    ) -> None:
        self.id = id or f"w-{uuid4().hex[:12]}"
        self._store = store
        self._waker = waker
        self._handlers = handlers
        self._options = options or WorkerOptions()
        self._held: dict[str, _Held] = {}
        self._runs: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._stopping = False
        self._heart = Heart(store, self.id, self._options.lease_s, self._leases, self._renewed)
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop` is called, then drain. Store failures are logged and retried with a growing pause."""
        self._loop = asyncio.get_running_loop()
        self._heart.start()
        listener = asyncio.create_task(self._listen())
        pause = 0.1
        try:
            while not self._stopping:
                self._look.clear()
                try:
                    claimed = await self._claim()
                    await self._hear_news()
                    pause = 0.1
                except StoreError as error:
                    logger.bind(error_type=error.error_type).error("The store failed; trying again: {}", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 5.0)
                    continue
                if not claimed:
                    await self._look.wait()
            await self._drain()
        finally:
            listener.cancel()
            for run in self._runs:
                run.cancel()
            await asyncio.gather(listener, *self._runs, return_exceptions=True)
            await asyncio.to_thread(self._heart.stop)

    def stop(self) -> None:
        """Claim nothing more; let what runs reach its next step; give back the rest. A second call gives back at once."""
        if self._stopping:
            for held in self._held.values():
                held.decide("release")
        self._stopping = True
        self._look.set()

    @property
    def running(self) -> int:
        """How many tasks hold a slot now."""
        return len(self._runs)

    async def _listen(self) -> None:
        queues = tuple(self._options.queues)
        while True:
            await self._waker.wait(queues, self._options.poll_s)
            self._look.set()

    async def _claim(self) -> bool:
        free = self._options.slots - len(self._runs)
        if free <= 0 or not self._handlers:
            return False
        if not self._runs:
            self._heart.leased()
        options = self._options
        leases = await self._store.claim(
            Claim(self.id, tuple(options.queues), tuple(self._handlers), free, options.lease_s)
        )
        for lease in leases:
            run = asyncio.create_task(self._run(lease), name=lease.task.id)
            self._runs.add(run)
            run.add_done_callback(self._freed)
        return bool(leases)

    def _freed(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        self._look.set()
        if not run.cancelled() and (error := run.exception()) is not None:
            logger.opt(exception=error).error("A run ended in an unforeseen way; its task comes back by itself")

    async def _hear_news(self) -> None:
        """Tell runs of cancels and ended children that arrived since their last look."""
        if not self._held:
            return
        if self._heart.fenced:
            for held in self._held.values():
                held.decide("lost")
            return
        for task, wakes in (await self._store.wakes(tuple(self._held))).items():
            run = self._held.get(task)
            if run is not None and wakes > run.journal.wakes:
                await run.journal.refresh(wakes)
                if run.journal.cancel_requested:
                    run.decide("cancel")

    async def _drain(self) -> None:
        for held in self._held.values():
            held.branches.drain()
        deadline = time.monotonic() + self._options.drain_s
        while self._runs and time.monotonic() < deadline:
            await asyncio.wait(set(self._runs), timeout=min(0.25, self._options.drain_s))
        for held in list(self._held.values()):
            held.decide("release")
        if self._runs:
            await asyncio.wait(set(self._runs), timeout=UNWIND_S + 1.0)

    def _leases(self) -> list[tuple[str, int]]:
        return [(id, held.lease.token) for id, held in list(self._held.items())]

    def _renewed(self, statuses: Sequence[LeaseStatus]) -> None:
        loop = self._loop
        lost = [status.task for status in statuses if not status.kept]
        if loop is None or not lost or loop.is_closed():
            return

        def tell() -> None:
            for task in lost:
                if (held := self._held.get(task)) is not None:
                    held.decide("lost")

        loop.call_soon_threadsafe(tell)

    # -- one life of a run ---------------------------------------------------------------------------------------------

    async def _run(self, lease: Lease) -> None:
        task = lease.task
        try:
            journal = await self._open_journal(lease)
        except StoreError as error:
            logger.bind(task=task.id, error_type=error.error_type).error("The journal could not be read: {}", error)
            return
        held = _Held(lease, journal, Branches())
        held.branches.on_idle = lambda: held.decide("idle")
        self._held[task.id] = held
        try:
            operations = await self._unwind(held) if journal.cancel_requested else await self._live(held)
            if operations:
                await journal.commit(operations)
                self._ring(task)
        except Interrupted as error:
            logger.bind(task=task.id, agent=task.agent, error_type=error.error_type).warning("{}", error.message)
        finally:
            journal.closed = True
            del self._held[task.id]

    async def _open_journal(self, lease: Lease) -> Journal:
        task, store = lease.task, self._store
        fresh = task.version == 1 and task.wakes == 0 and task.deliveries == 0
        inherited: list[Event] = []
        identity = task.id
        before = task.retry_of
        while before is not None:
            inherited = [*await store.journal(before), *inherited]
            identity = before
            older = await store.get_task(before)
            before = older.retry_of if older is not None else None
        return Journal(
            store,
            lease,
            () if fresh else await store.journal(task.id),
            inherited=inherited,
            identity=identity,
            knows=self._handlers.__contains__,
            ring=self._waker.ring,
            may_act=self._heart.check,
        )

    async def _live(self, held: _Held) -> Sequence[Operation]:
        """Run the body until a verdict; return the batch that records it, empty when there is nothing to write."""
        task = held.lease.task
        context = Context(
            held.journal,
            name=task.agent or task.handler.split("/", 1)[1],
            input=task.input,
            task=task.id,
            session=task.session,
            branches=held.branches,
        )
        if self._stopping:
            held.branches.drain()
        held.body = body = asyncio.ensure_future(_as_coroutine(self._handlers[task.handler], context))
        body.add_done_callback(lambda _: held.decide("ended"))
        loop = asyncio.get_running_loop()
        timer = loop.call_later(task.timeout_s, held.decide, "timeout") if task.timeout_s else None
        try:
            verdict = await self._verdict(held)
            if not body.done():
                held.journal.closed = True
                await _close(body, task)
                held.journal.closed = False
        except asyncio.CancelledError:
            held.journal.closed = True
            await _close(body, task)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return await self._sentence(held, verdict)

    async def _verdict(self, held: _Held) -> str:
        while True:
            verdict = await held.verdict
            held.soonest = held.branches.soonest
            held.waits_for = "time" if held.branches.only_timers else "children"
            short = held.soonest is not None and held.soonest - time.time() < RESIDENT_S
            if verdict == "idle" and short and held.branches.only_timers and not self._stopping:
                held.verdict = asyncio.get_running_loop().create_future()
                continue
            return verdict

    async def _sentence(self, held: _Held, verdict: str) -> Sequence[Operation]:
        task = held.lease.task
        body = held.body
        if body is not None and body.done() and not body.cancelled():
            return await self._ended(held, body)
        if verdict == "lost":
            logger.bind(task=task.id, agent=task.agent, error_type="interrupted").warning(
                "The lease of the task is lost."
            )
            return []
        if verdict == "cancel":
            return await self._unwind(held)
        if verdict == "timeout":
            error = StepTimeout(f"The task did not end within {task.timeout_s:g} s.")
            return await self._failed(held, error)
        if verdict == "idle" and not self._stopping:
            delay = None if held.soonest is None else max(0.0, held.soonest - time.time())
            return transitions.park(task, delay, held.journal.wakes, held.waits_for)
        return transitions.release(task)

    async def _ended(self, held: _Held, body: asyncio.Task[Any]) -> Sequence[Operation]:
        task = held.lease.task
        error = body.exception()
        if error is None:
            try:
                return transitions.succeed(task, to_jsonable_python(body.result()))
            except ValueError as fault:
                error = ValueError(f"The result of {task.handler} is not JSON: {fault}")
        if isinstance(error, InDoubt):
            detail = {"key": error.key, "kind": error.kind, "name": error.name, "arguments": error.arguments}
            return transitions.halt(task, TaskState.IN_DOUBT, error_to_json(error), detail)
        if isinstance(error, JournalMismatch):
            return transitions.halt(task, TaskState.PAUSED, error_to_json(error), {"key": error.key})
        if isinstance(error, (Interrupted, StoreError)):
            logger.bind(task=task.id, agent=task.agent, error_type=error.error_type).warning("{}", error)
            return []
        return await self._failed(held, error)

    async def _failed(self, held: _Held, error: BaseException) -> Sequence[Operation]:
        task = held.lease.task
        told = error_to_json(error)
        policy = RetryPolicy(**task.retry) if task.retry else RetryPolicy()
        tries = task.attempt + 1
        if tries < policy.attempts and told["type"] in policy.when:
            asked = getattr(error, "retry_after_s", None)
            delay = asked if asked is not None else backoff_s(policy, tries)
            return transitions.retry_later(task, told, delay, told.get("key"))
        for batch in transitions.request_cancels(held.journal.unfinished_children):
            await held.journal.commit(batch)
        return transitions.fail(task, told)

    async def _unwind(self, held: _Held) -> Sequence[Operation]:
        """Cancel, children first: ask them, and wait parked until all have ended."""
        task = held.lease.task
        children = held.journal.unfinished_children
        if not children:
            return transitions.cancelled(task)
        for batch in transitions.request_cancels(children):
            await held.journal.commit(batch)
        return transitions.park(task, None, held.journal.wakes, "children")

    def _ring(self, task: Task) -> None:
        """Something may have become due: the task itself, its parent, its children."""
        self._waker.ring(task.queue)


async def _as_coroutine(handler: Handler, context: Context) -> Any:
    try:
        return await handler(context)
    except Halt:
        raise
    except Exception as error:
        logger.bind(task=context.task, agent=context.agent).opt(exception=error).debug("The run raised")
        raise


async def _close(body: asyncio.Task[Any], task: Task) -> None:
    """Unwind user code; what does not end in time is left behind, unable to act."""
    deadline = time.monotonic() + UNWIND_S
    while not body.done() and time.monotonic() < deadline:
        body.cancel()
        await asyncio.wait({body}, timeout=0.5)
    if not body.done():
        logger.bind(task=task.id, agent=task.agent).error(
            "The code of the task ignores its cancellation and is left behind."
        )
