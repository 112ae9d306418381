"""Reading: tasks, their journals, and waiting until one has settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from loguru import logger

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import Page, Query, Store, Task, TaskState
from opspawn.contracts.waker import Waker
from opspawn.errors import StoreError
from opspawn.ops.answers import answered
from opspawn.ops.engine.base import Desk
from opspawn.ops.engine.checks import check_query, check_wait

#: Task states in which a caller that waits gets its answer: the end, or a halt that only a human can lift.
SETTLED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PAUSED, TaskState.IN_DOUBT})
_TELLING = tuple(f"task.{state}" for state in sorted(SETTLED))
#: Callers that wait are told by the tail of events; they look for themselves too, at least this often, in seconds.
LOOK_AGAIN_S = 1.0


class _Waiter:
    """A caller that waits for a task: told when there is news of it, which is the `task` itself once it has ended.

    `waited` says whether it waits since before the last reminder.
    """

    __slots__ = ("_loop", "_told", "task", "waited")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = self._loop.create_future()
        self.task: Task | None = None
        self.waited = False

    def tell(self) -> None:
        """There may be news."""
        if not self._told.done():
            self._told.set_result(None)

    async def wait(self, timeout_s: float | None) -> None:
        """Return when it was told since the last wait, or after `timeout_s` seconds."""
        self.waited = False
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self.tell)
        await self._told
        if timer is not None:
            timer.cancel()
        self._told = self._loop.create_future()


class Reading(Desk):
    """The part of the engine that reads.

    Attributes:
        look_again_s: how often, at least, a caller that waits looks for itself, whatever it was told, in seconds.
    """

    def __init__(self, store: Store, waker: Waker, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(store, waker, clock)
        self._waiters: dict[str, set[_Waiter]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._reminder: asyncio.TimerHandle | None = None
        self._quiet = False  # whether nobody has waited since the last reminder
        self.look_again_s = LOOK_AGAIN_S

    async def tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first. Raises: InvalidInput."""
        check_query("Tasks", query, {"state": list(TaskState)})
        return await self._store.find_tasks(query)

    async def journal(self, id: str, after: int = 0) -> list[Event]:
        """A task's journal after a position. Raises: NotFound."""
        await self.task(id)
        return await self._store.journal(id, after)

    async def answered(self, task: Task) -> Mapping[str, Any] | None:
        """The reason and usage of an agent's run that has ended; None for other tasks."""
        return await answered(self._store.events, task)

    async def wait(self, id: str, timeout_s: float, *, accepted: Task | None = None) -> Task:
        """The task once it has settled (ended, paused or in doubt), or as it stands after `timeout_s` seconds.

        Whoever has it from `submit` just now gives it as `accepted`: it was told of nothing yet, and needs no look.

        Raises: NotFound; InvalidInput: `timeout_s` is no number.
        """
        check_wait(timeout_s)
        task = accepted if self._watch_all() else None
        self._quiet = False
        waiter = _Waiter()
        self._waiters.setdefault(id, set()).add(waiter)
        try:
            deadline = self._clock.monotonic() + timeout_s
            while True:
                task = task or await self.task(id)
                left = deadline - self._clock.monotonic()
                if task.state in SETTLED or left <= 0:
                    return task
                await waiter.wait(left if left < self.look_again_s else None)
                if waiter.task is not None:
                    return waiter.task
                task = None
        finally:
            waiting = self._waiters[id]
            waiting.discard(waiter)
            if not waiting:
                del self._waiters[id]

    def ended(self, task: Task) -> None:
        """Tell whoever waits for a task that it has ended, as this process knows: an ended task never changes."""
        for waiter in self._waiters.get(task.id, ()):
            waiter.task = task
            waiter.tell()

    def _remind(self) -> None:
        """Let those look again who wait since before the last time. One timer for all: most wait for milliseconds.

        Whether or not anybody waits, to follow the events takes something for each end: so it ends when nobody does.
        """
        self._reminder = None
        for waiters in self._waiters.values():
            for waiter in waiters:
                if waiter.waited:
                    waiter.tell()
                waiter.waited = True
        if self._waiters or not self._quiet:
            self._quiet = not self._waiters
            self._remind_later()
        elif self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _remind_later(self) -> None:
        self._reminder = asyncio.get_running_loop().call_later(self.look_again_s / 2, self._remind)

    async def aclose(self) -> None:
        """Stop watching. Idempotent; the store stays open."""
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    def _watch_all(self) -> bool:
        """Follow the events from now on; whether that was so before."""
        if self._watcher is not None and not self._watcher.done():
            return True
        self._watcher = asyncio.create_task(self._watch(self._store.tail(types=_TELLING)))
        if self._reminder is None:
            self._remind_later()
        return False

    async def _watch(self, tail: AsyncIterator[Event | TaskDelta]) -> None:
        try:
            async for event in tail:
                if isinstance(event, Event):
                    for waiter in self._waiters.get(event.task or "", ()):
                        waiter.tell()
        except StoreError as error:  # until the next call of `wait`, each waiter looks for itself
            logger.bind(error_type=error.error_type).warning("Events cannot be followed: {}", error)
        finally:
            if (close := getattr(tail, "aclose", None)) is not None:
                await close()
