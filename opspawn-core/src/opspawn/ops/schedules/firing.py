"""Lets schedules fire: in every process with a worker, and each due time once.

A time is served by one commit, which submits the task and writes the schedule's next time under the version that was
read: of two that see the same time due, one gets a conflict. The task has an idempotency key made of the name and the
due time besides. What is due counts by the clock of the store, as it told it within the last seconds and as a clock
goes on from there that never steps: so those of the machines may be wrong by hours.

Who fired a schedule last is at it when it is due; the others look a moment later, and find nothing to do unless that
one is gone; while it makes up for what was missed, they leave that to it. Nobody sleeps past the next due time, nor for
longer than `LOOK_S`, so that what others add is seen.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from loguru import logger

from opspawn import details
from opspawn.agentkit.failures import error_to_json
from opspawn.contracts.clock import Clock, iso
from opspawn.contracts.events import NewEvent
from opspawn.contracts.schedule import Schedule
from opspawn.contracts.store import Append, Batch, Operation, Put, Store, Task
from opspawn.errors import Conflict, IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.ops.schedules.records import Kept, all_kept
from opspawn.ops.schedules.schedules import StoredSchedules, Submit, options_of

LOOK_S = 2.0
#: A time that passed so little ago is late and not missed, in seconds.
LATE_S = 60.0
#: How long the others wait for the one that fired last, at most, in seconds.
_BEHIND_S = 0.25
#: For how long after that it is left to it, in seconds.
_IN_HAND_S = 1.0
#: How long the store's time is believed without asking again, in seconds.
_TRUSTED_S = 10.0


class Firing:
    """Looks at the schedules of a store, and serves what is due. `serves` says whether this process can."""

    def __init__(
        self,
        store: Store,
        schedules: StoredSchedules,
        submit: Submit,
        owner: str,
        serves: Callable[[Schedule], bool],
        clock: Clock,
    ) -> None:
        self._store = store
        self._schedules = schedules
        self._submit = submit
        self._owner = owner
        self._serves = serves
        self._clock = clock
        self._told: tuple[datetime, float] | None = None  # the store's time, and when it was told

    async def run(self) -> None:
        """Endless; not in virtual time. Failures are logged, and the next look comes."""
        while not self._clock.virtual:
            self._schedules.changed.clear()
            try:
                pause = await self.look()
            except StoreError as error:  # whoever claims reports it
                details.debug("Schedules could not be looked at: {}", error, error_type=error.error_type)
                pause = LOOK_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._schedules.changed.wait()

    async def look(self) -> float:
        """Serve what is due; in how many seconds to look again. Raises: StoreError."""
        known = [kept for kept in await all_kept(self._store) if kept.status.state == "active"]
        own = [kept for kept in known if self._serves(kept.status.schedule)]
        if not own:
            return LOOK_S
        pause = LOOK_S
        for kept in own:
            left = await self._left(kept)
            if left <= 0 and not await self._in_hand(kept):
                left = await self._try(kept)
            elif kept.by != self._owner:
                left = max(0.0, left) + random.uniform(0.05, _BEHIND_S)
            pause = min(pause, left)
        return pause

    async def _in_hand(self, kept: Kept) -> bool:
        """Whether somebody else has just served a time of it, and so makes up for the others, too."""
        if kept.by in ("", self._owner) or kept.updated is None:
            return False
        return (await self._now() - kept.updated).total_seconds() < _IN_HAND_S

    async def _try(self, kept: Kept) -> float:
        """Serve a schedule; in how many seconds to look at it again."""
        try:
            await self.serve(kept, await self._now())
        except InvalidInput as error:  # e.g. a time zone that this machine does not have
            logger.bind(error_type=error.error_type).warning(
                "The schedule {!r} is left to others: {}", kept.name, error
            )
            return LOOK_S
        return 0.0  # there may be more to make up for

    async def _left(self, kept: Kept) -> float:
        assert kept.status.next is not None
        return (kept.status.next - await self._now()).total_seconds()

    async def _now(self) -> datetime:
        """The store's time, or a little before. Raises: StoreError."""
        if self._told is None or self._clock.monotonic() - self._told[1] > _TRUSTED_S:
            now = await self._schedules.now()
            self._told = (now, self._clock.monotonic())
        time, told = self._told
        return time + timedelta(seconds=self._clock.monotonic() - told)

    async def serve(self, kept: Kept, now: datetime) -> None:
        """Serve the time that is due, or the one that stands for all that were missed. Raises: StoreError."""
        schedule, first = kept.status.schedule, kept.status.next
        assert first is not None
        due = kept.times.newest(first, now, schedule.at_most if schedule.catch_up == "all" else 1)[0]
        missed = first if due > first else None
        if schedule.catch_up == "skip" and now - due > timedelta(seconds=LATE_S):
            return await self._leave_out(kept, due, "missed")
        if schedule.overlap == "skip" and (before := await self._unfinished(kept)) is not None:
            return await self._leave_out(kept, due, "overlap", before)
        made: list[str] = []

        def also(task: Task) -> Sequence[Operation]:
            made.append(task.id)
            data = {"schedule": kept.name, "due": iso(due), "task": task.id}
            if missed is not None:
                data["missedFrom"] = iso(missed)
            served = self._behind(kept, due, task=task.id, fired=kept.status.fired + 1, error=None)
            return _written(served, NewEvent("schedule.fired", data))

        options = options_of(schedule)
        options["idempotency_key"] = f"schedule {kept.name} {iso(due)}"
        try:
            task = await self._submit(schedule.run, schedule.input, options, also)
        except Conflict:
            return  # somebody else serves it, or has changed it
        except (InvalidInput, NotFound, InvalidTransition, IdempotencyMismatch) as error:
            return await self._fail(kept, due, error)
        if task.id not in made:  # it was served before: perhaps in another life of the schedule
            await self._leave_out(kept, due, "served", task.id)

    async def _unfinished(self, kept: Kept) -> str | None:
        task = None if kept.status.task is None else await self._store.get_task(kept.status.task)
        return None if task is None or task.state.terminal else task.id

    async def _leave_out(self, kept: Kept, due: datetime, why: str, task: str | None = None) -> None:
        data = {"schedule": kept.name, "due": iso(due), "why": why} | ({"task": task} if task else {})
        left = self._behind(kept, due, skipped=kept.status.skipped + 1)
        await self._write(left, NewEvent("schedule.skipped", data))

    async def _fail(self, kept: Kept, due: datetime, error: Exception) -> None:
        told = error_to_json(error)
        logger.bind(error_type=told["type"]).warning("The schedule {!r} could not be served: {}", kept.name, error)
        data = {"schedule": kept.name, "due": iso(due), "error": told}
        event = NewEvent("schedule.failed", data, level="warning", error_type=told["type"])
        await self._write(self._behind(kept, due, error=told), event)

    def _behind(self, kept: Kept, due: datetime, **changes: object) -> Kept:
        """The schedule when a time is done with."""
        following = kept.times.after(due)
        state = "active" if following is not None else "ended"
        return kept.but(by=self._owner, state=state, next=following, last=due, **changes)

    async def _write(self, kept: Kept, event: NewEvent) -> None:
        with suppress(Conflict):  # somebody else was faster
            await self._store.commit(Batch(_written(kept, event)))


def _written(kept: Kept, event: NewEvent) -> list[Operation]:
    return [Put(kept.record(), expect=kept.version), Append(None, event)]
