"""How the model leases tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import (
    Claim,
    Lease,
    LeaseStatus,
    TaskState,
)
from opspawn.testing.store_model import values
from opspawn.testing.store_model.state import State
from opspawn.testing.store_model.values import Row


class Claiming(State):
    """`claim` and `renew`."""

    async def claim(self, claim: Claim) -> list[Lease]:
        """Lease due tasks, lowest rank first."""
        return self._once("claim", claim.id, lambda: self._claim(claim))

    def _claim(self, claim: Claim) -> list[Lease]:
        self._free_expired()
        due = [row for row in self._tasks.values() if row.task.due is not None and row.task.due <= self._time]
        due = [row for row in due if row.task.queue in claim.queues and row.task.handler in claim.handlers]
        leases: list[Lease] = []
        for row in sorted(due, key=Row.rank):
            shut = self._closed_lanes.get(row.task.handler, False)
            if len(leases) < claim.slots and (row.cancel or not (claim.ending_only or shut or not self._has_room(row))):
                leases.append(self._lease(row, claim))
        return leases

    def _has_room(self, row: Row) -> bool:
        return all(
            sum(hold.key in other.places for other in self._tasks.values()) < hold.limit
            for hold in row.task.holds
            if hold.key not in row.places
        )

    def _lease(self, row: Row, claim: Claim) -> Lease:
        lost = row.task.state is TaskState.RUNNING
        task = replace(
            row.task, state=TaskState.RUNNING, owner=claim.worker, token=row.task.token + 1, updated=self._time,
            deliveries=row.task.deliveries + lost, due=self._time + values.seconds(claim.lease_s),
        )  # fmt: skip
        places = row.places if row.cancel else row.all_places()
        new = replace(row, task=task, wake_at=None, places=places)
        self._set(self._tasks, task.id, new)
        data = {"worker": claim.worker, "token": task.token, "deliveries": task.deliveries}
        self._journal(task.id, NewEvent("task.claimed", data), task.agent, task.session)
        return Lease(new.whole())

    def _free_expired(self) -> None:
        """A lease that ran out holds nothing that ends with it."""
        for row in list(self._tasks.values()):
            if row.task.state is TaskState.RUNNING and row.task.due is not None and row.task.due <= self._time:
                lasting = {key: hold for key, hold in row.places.items() if hold.while_ == "unfinished"}
                self._set(self._tasks, row.task.id, replace(row, places=lasting))

    async def renew(self, worker: str, leases: Sequence[tuple[str, int]], lease_s: float) -> list[LeaseStatus]:
        """Prolong leases; the answer has their order."""
        return self._once("renew", None, lambda: [self._renew(worker, lease_s, *lease) for lease in leases])

    def _renew(self, worker: str, lease_s: float, id: str, token: int) -> LeaseStatus:
        self._free_expired()
        row = self._tasks.get(id)
        if row is None:
            return LeaseStatus(id, False, 0)
        held = row.task.state is TaskState.RUNNING and (row.task.token, row.task.owner) == (token, worker)
        if not held or not (row.cancel or self._has_room(row)):
            return LeaseStatus(id, False, row.task.wakes)
        places = row.places if row.cancel else row.all_places()
        task = replace(row.task, due=self._time + values.seconds(lease_s))
        self._set(self._tasks, id, replace(row, task=task, places=places))
        return LeaseStatus(id, True, row.task.wakes)
