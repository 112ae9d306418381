"""How the model commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from opspawn.contracts.store import (
    Append,
    Batch,
    Check,
    Delete,
    Operation,
    Put,
    Receipt,
    Record,
    SetLane,
    Take,
    Task,
    TaskState,
    Wake,
)
from opspawn.errors import Conflict, Limited
from opspawn.testing.store_model import values
from opspawn.testing.store_model.state import State
from opspawn.testing.store_model.values import Row


class Writing(State):
    """`commit`."""

    async def commit(self, batch: Batch) -> Receipt:
        """Apply a batch, all or nothing. Raises: Conflict; Limited; StoreError."""
        values.check(batch)
        return self._once("batch", batch.id, lambda: self._commit(batch.operations))

    def _commit(self, operations: Sequence[Operation]) -> Receipt:
        versions, positions = [], []
        for operation in operations:
            match operation:
                case Put(record=Task() as task):
                    versions.append(self._put_task(operation, task))
                case Put(record=Record() as record):
                    versions.append(self._put_record(operation, record))
                case Append():
                    positions.append(self._append(operation))
                case Wake():
                    self._wake(operation)
                case Take():
                    self._take(operation)
                case Delete():
                    self._delete(operation)
                case Check():
                    self._check(operation)
                case SetLane():
                    self._set(self._closed_lanes, operation.handler, not operation.open)
        return Receipt(versions, positions, self._time)

    def _put_task(self, put: Put, task: Task) -> int:
        row = self._tasks.get(task.id)
        if put.expect == 0:
            if row is not None or put.token is not None:
                raise Conflict(f"Task {task.id!r} exists already, or cannot be created under a claim.")
            self._seq += 1
            blank = Task(task.id, "", "", created=self._time)
            row = Row(blank, self._seq, "null", "null", places={})
        elif row is None or row.task.state.terminal or row.task.version != put.expect:
            raise Conflict(f"Task {task.id!r} is not at version {put.expect}, or has ended.")
        running = row.task.state is TaskState.RUNNING
        if running is (put.token is None) or (running and put.token != row.task.token):
            raise Conflict(f"Task {task.id!r} is not held under the token {put.token}.")
        due = self._due(put, task, row)
        deadline = task.deadline if put.deadline_in_s is None else self._time + values.seconds(put.deadline_in_s)
        written = replace(
            task, input=None, result=None, error=values.copy(task.error), retry=values.copy(task.retry),
            labels=dict(task.labels), deadline=deadline, due=due, created=row.task.created, updated=self._time,
            ended=self._time if task.state.terminal else None, owner=None, version=row.task.version + 1,
            token=row.task.token + running, wakes=row.task.wakes,
        )  # fmt: skip
        places = {
            key: hold
            for key, hold in row.places.items()
            if not task.state.terminal and not (running and hold.while_ == "running")
        }
        wake_at = put.wake_at if task.state is TaskState.WAITING else None
        input, result = values.text(task.input, row.input), values.text(task.result, row.result)
        new = replace(row, task=written, input=input, result=result, wake_at=wake_at, places=places)
        self._set(self._tasks, task.id, new)
        return written.version

    def _due(self, put: Put, task: Task, row: Row) -> datetime | None:
        if task.state not in (TaskState.QUEUED, TaskState.WAITING):
            return None
        due = None if put.due_in_s is None else self._time + values.seconds(put.due_in_s)
        enough = put.wake_at is not None and row.task.wakes >= put.wake_at
        if task.state is TaskState.WAITING and (enough or row.urgent_at > put.wakes_seen):
            return self._time if due is None else min(due, self._time)
        return due

    def _put_record(self, put: Put, record: Record) -> int:
        key = (record.kind, record.id)
        former = self._records.get(key)
        if put.expect != (0 if former is None else former[0].version):
            raise Conflict(f"Record {record.kind}/{record.id} is not at version {put.expect}.")
        if former is None:
            self._seq += 1
        created, seq = (self._time, self._seq) if former is None else (former[0].created, former[2])
        kept = Record(record.kind, record.id, {}, put.expect + 1, dict(record.fields), created, self._time)
        self._set(self._records, key, (kept, values.dump(dict(record.data), "The record"), seq))
        return kept.version

    def _append(self, append: Append) -> int:
        if append.task is None:
            return self._journal(None, append.event, append.agent, append.session)
        row = self._tasks.get(append.task)
        if append.token is None:
            if row is None or row.task.state.terminal:
                return 0
        elif row is None or row.task.state is not TaskState.RUNNING or row.task.token != append.token:
            raise Conflict(f"The claim {append.token} of task {append.task!r} is over.")
        return self._journal(append.task, append.event, row.task.agent, row.task.session)

    def _wake(self, wake: Wake) -> None:
        row = self._tasks.get(wake.task)
        if row is None or row.task.state.terminal:
            return
        wakes = row.task.wakes + 1
        due = row.task.due
        enough = wake.urgent or (row.wake_at is not None and wakes >= row.wake_at)
        if row.task.state is TaskState.WAITING and enough and (due is None or due > self._time):
            due = self._time
        new = replace(row, task=replace(row.task, wakes=wakes, due=due), cancel=row.cancel or wake.cancel)
        self._set(self._tasks, wake.task, replace(new, urgent_at=wakes) if wake.urgent else new)

    def _take(self, take: Take) -> None:
        now = (self._time - values.EPOCH) / values.seconds(1)
        full = max(now, self._rates.get(take.key, now)) + take.amount / take.per_s
        late = full - now - max(take.amount, take.burst) / take.per_s
        if take.amount > 0 and not take.force and late > 5e-7:
            raise Limited(take.key, late + 1e-6)
        self._set(self._rates, take.key, max(now, full))

    def _check(self, check: Check) -> None:
        former = self._records.get((check.kind, check.id))
        if check.expect != (0 if former is None else former[0].version):
            raise Conflict(f"Record {check.kind}/{check.id} is not at version {check.expect}.")

    def _delete(self, delete: Delete) -> None:
        if delete.kind == "event":
            line = self._lines.get(int(delete.id) if delete.id.isdecimal() else 0)
            if line is None or line.event.task is not None or delete.expect != 0:
                raise Conflict(f"There is no event of no task at {delete.id!r}.")
            self._set(self._lines, line.event.position, None)
            return
        if delete.kind != "task":
            former = self._records.get((delete.kind, delete.id))
            if former is None or former[0].version != delete.expect:
                raise Conflict(f"Record {delete.kind}/{delete.id} is not at version {delete.expect}.")
            self._set(self._records, (delete.kind, delete.id), None)
            return
        row = self._tasks.get(delete.id)
        if row is None or row.task.version != delete.expect or not row.task.state.terminal:
            raise Conflict(f"Task {delete.id!r} is not at version {delete.expect}, or has not ended.")
        self._set(self._tasks, delete.id, None)
        for position in [position for position, line in self._lines.items() if line.event.task == delete.id]:
            self._set(self._lines, position, None)
