"""Making, changing and reading schedules. Who lets them fire is in `ops.schedules.firing`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from opspawn.contracts.events import NewEvent
from opspawn.contracts.limit import Limit
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.schedule import Schedule, ScheduleStatus
from opspawn.contracts.store import Append, Batch, Delete, Operation, Put, Store, Task
from opspawn.errors import Conflict, InvalidInput, InvalidTransition, NotFound
from opspawn.ops.schedules.records import KIND, LABEL, MAX_SCHEDULES, Kept, all_kept, checked

_RACES = 10

Check = Callable[[str, Any], Awaitable[None]]


#: Accepts a task of a handler with an input, and commits operations along with it, once; as `Engine.submit`.
Submit = Callable[[str, Any, TaskOptions, Callable[[Task], Sequence[Operation]]], Awaitable[Task]]


class StoredSchedules:
    """See `opspawn.contracts.schedule.Schedules`.

    Args:
        submit: for `run`. check: whether a handler takes an input. Raises: NotFound, InvalidInput.

    Attributes: changed: set when a schedule of this process has changed.
    """

    def __init__(self, store: Store, submit: Submit, check: Check) -> None:
        self._store = store
        self._submit = submit
        self._check = check
        self.changed = asyncio.Event()

    async def add(self, schedule: Schedule, *, source: str = "api") -> ScheduleStatus:
        schedule = checked(schedule)
        await self._check(schedule.run, schedule.input)
        for _ in range(_RACES):
            known = await self._known(schedule.name)
            if known is not None and known.status.schedule == schedule:
                return known.status
            if known is None and len(await all_kept(self._store)) >= MAX_SCHEDULES:
                raise InvalidInput(f"There are {MAX_SCHEDULES} schedules already.", remedy="Remove some.")
            now = await self.now()
            kept = _made(schedule, known, source, now)
            if kept.status.next is None:
                raise InvalidInput(f"is {schedule.at}, which has passed.", argument="at", remedy="Give a time to come.")
            if await self._put(kept, "schedule.added" if known is None else "schedule.changed"):
                return await self.get(schedule.name)
        raise _too_fast(schedule.name)

    async def get(self, name: str) -> ScheduleStatus:
        return (await self.kept(name)).status

    async def all(self) -> Sequence[ScheduleStatus]:
        return [kept.status for kept in sorted(await all_kept(self._store), key=lambda kept: kept.name)]

    async def pause(self, name: str) -> ScheduleStatus:
        return await self._turn(name, "schedule.paused", lambda kept, now: kept.but(state="paused"))

    async def resume(self, name: str) -> ScheduleStatus:
        def resumed(kept: Kept, now: datetime) -> Kept:
            coming = kept.times.after(now)
            if coming is None:
                raise InvalidTransition(f"The time of the schedule {name!r} has passed.", remedy="Add it anew.")
            return kept.but(state="active", next=coming)

        return await self._turn(name, "schedule.resumed", resumed)

    async def remove(self, name: str) -> None:
        for _ in range(_RACES):
            kept = await self.kept(name)
            told = Append(None, NewEvent("schedule.removed", {"schedule": name}))
            try:
                await self._store.commit(Batch([Delete(KIND, name, kept.version), told]))
            except Conflict:
                continue
            self.changed.set()
            return
        raise _too_fast(name)

    async def run(self, name: str) -> Task:
        schedule = (await self.kept(name)).status.schedule
        return await self._submit(schedule.run, schedule.input, options_of(schedule), lambda task: ())

    # -- for those who let them fire -----------------------------------------------------------------------------------

    async def now(self) -> datetime:
        """The time, by the store's clock. Raises: StoreError."""
        return (await self._store.commit(Batch([]))).time

    async def kept(self, name: str) -> Kept:
        """A schedule as it is kept. Raises: NotFound."""
        if (known := await self._known(name)) is None:
            raise NotFound("schedule", name, remedy="See 'opspawn schedules list'.")
        return known

    async def _known(self, name: str) -> Kept | None:
        record = await self._store.get(KIND, name)
        return None if record is None else Kept.of(record)

    async def _turn(self, name: str, event: str, turned: Callable[[Kept, datetime], Kept]) -> ScheduleStatus:
        for _ in range(_RACES):
            kept = await self.kept(name)
            if kept.status.state == "ended":
                raise InvalidTransition(f"The schedule {name!r} has ended.", remedy="Add it anew, or remove it.")
            wanted = turned(kept, await self.now())
            if wanted.status.state == kept.status.state:
                return kept.status
            if await self._put(wanted, event):
                return await self.get(name)
        raise _too_fast(name)

    async def _put(self, kept: Kept, event: str) -> bool:
        """Whether it was written: not if somebody was faster."""
        told = NewEvent(event, {"schedule": kept.name, "state": kept.status.state})
        try:
            await self._store.commit(Batch([Put(kept.record(), expect=kept.version), Append(None, told)]))
        except Conflict:
            return False
        self.changed.set()
        return True


def options_of(schedule: Schedule) -> TaskOptions:
    """How the tasks of a schedule are submitted."""
    options: TaskOptions = {
        "queue": schedule.queue,
        "priority": schedule.priority,
        "labels": {**schedule.labels, LABEL: schedule.name},
    }
    if schedule.overlap == "queue":
        options["limits"] = [Limit(f"schedule/{schedule.name}", 1, parked=True)]
    return options


def _made(schedule: Schedule, known: Kept | None, source: str, now: datetime) -> Kept:
    """A new schedule, or a known one changed: then it stays paused, unless the change is about that."""
    paused = not schedule.enabled
    if known is not None and known.status.schedule.enabled == schedule.enabled:
        paused = known.status.state == "paused"
    state = "paused" if paused else "active"
    if known is None:
        kept = Kept(ScheduleStatus(schedule, "active", source, None), now)
    else:
        kept = Kept(known.status, now, known.version, known.by)
    kept = kept.but(schedule=schedule, state=state, source=source, error=None)
    return kept.but(next=kept.times.after(now))


def _too_fast(name: str) -> Conflict:
    return Conflict(f"The schedule {name!r} is changed by others at the same time; try again.")
