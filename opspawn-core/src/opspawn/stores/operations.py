"""What a commit does: the operations of a batch.

`prepare` runs in the caller's thread: it checks and serialises, so that a caller's mistake costs nobody else anything.
What it returns is applied by `apply` inside the transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Append,
    Batch,
    Operation,
    Put,
    Receipt,
    Record,
    Task,
    TaskState,
)
from opspawn.errors import Conflict, StoreError
from opspawn.stores import rows
from opspawn.stores.transaction import Transaction

#: How to apply it; whether the outcome is a "version", a "position" or nothing; its arguments; bytes of JSON in it.
Prepared = tuple[Callable[[Transaction, Any], int], str, Any, int]

HEAD_START = 60_000_000  # microseconds that one unit of priority is worth in a claim's order
_DUE_STATES = (
    TaskState.QUEUED,
    TaskState.WAITING,
)  # a Put makes no other task due; `running` comes from claims

_APPEND = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    "SELECT seq, ?, ?, ?, ?, ?, agent, session FROM tasks WHERE id = ? AND "
)
_APPEND_FENCED = _APPEND + "token = ? AND state = 'running'"
_APPEND_INBOX = _APPEND + "ended IS NULL"
_APPEND_ALL = (
    "INSERT INTO events (task, time, type, level, error_type, data, agent, session) "
    "SELECT seq, ?, column1, column2, column3, column4, agent, session "
    "FROM (VALUES {}) CROSS JOIN tasks ON id = column5 AND token = column6 AND state = 'running'"
)
_HOLDS = "SELECT count(*) FROM tasks WHERE id = ? AND token = ? AND state = 'running'"

_SELECT_WAKE = "SELECT seq, state, wakes, wake_at, ready, due, priority FROM tasks WHERE id = ? AND ended IS NULL"
_UPDATE_WAKE = "UPDATE tasks SET wakes = wakes + 1 WHERE seq = ?"
_UPDATE_WAKE_URGENT = "UPDATE tasks SET wakes = wakes + 1, urgent_at = wakes + 1 WHERE seq = ?"
_UPDATE_DUE = "UPDATE tasks SET ready = 1, due = ?, rank = ? WHERE seq = ?"

_LANE_AND_KIN = ("handler", "root", "queue", "parent", "agent", "session")  # indexed, and hardly ever changed
_REST = (
    "state", "priority", "input", "result", "error", "attempt", "retry", "timeout_s", "deliveries", "labels",
    "retry_of", "wake_at", "ready", "due", "rank", "updated", "ended",
)  # fmt: skip
_SELECT_PUT = f"SELECT seq, version, token, state, wakes, urgent_at, {', '.join(_LANE_AND_KIN)} FROM tasks WHERE id = ?"
_SET_REST = ", ".join(f"{name} = ?" for name in _REST)
_UPDATE_PUT = f"UPDATE tasks SET version = version + 1, token = token + ?, owner = NULL, {_SET_REST} WHERE seq = ?"
_UPDATE_KIN = f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in _LANE_AND_KIN)} WHERE seq = ?"
_INSERT_PUT = (
    f"INSERT INTO tasks (id, version, token, wakes, urgent_at, created, {', '.join(_LANE_AND_KIN + _REST)}) "
    f"VALUES (?, 1, 0, 0, 0, ?{', ?' * len(_LANE_AND_KIN + _REST)})"
)

_INSERT_RECORD = "INSERT INTO records (kind, id, data, version) VALUES (?, ?, ?, 1)"
_UPDATE_RECORD = "UPDATE records SET data = ?, version = version + 1 WHERE kind = ? AND id = ? AND version = ?"


def prepare(batch: Batch) -> list[Prepared]:
    """Check and serialise a batch. Raises: StoreError: too large, not JSON, or against the contract."""
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    prepared = [_prepare(operation) for operation in batch.operations]
    size = sum(operation[3] for operation in prepared)
    if size > MAX_BATCH_BYTES:
        raise StoreError(
            f"A batch holds {size} bytes of data; {MAX_BATCH_BYTES} are allowed.", remedy="Commit less at once."
        )
    return prepared


def apply(tx: Transaction, prepared: list[Prepared]) -> Receipt:
    """Apply a batch in order. Raises: Conflict: the caller then rolls back what was already written."""
    if len(prepared) == 1:  # the most frequent commit by far
        run, outcome, arguments, _ = prepared[0]
        value = run(tx, arguments)
        if outcome == "position":
            return Receipt((), (value,), tx.time)
        return Receipt((value,) if outcome == "version" else (), (), tx.time)
    outcomes: dict[str, list[int]] = {"version": [], "position": [], "": []}
    for run, outcome, arguments, _ in prepared:
        outcomes[outcome].append(run(tx, arguments))
    return Receipt(outcomes["version"], outcomes["position"], tx.time)


def is_plain(prepared: list[Prepared]) -> bool:
    """Whether a batch is a fenced append and nothing else."""
    return len(prepared) == 1 and prepared[0][0] is _append_fenced


def append_all(tx: Transaction, batches: list[list[Prepared]]) -> list[Receipt | Conflict]:
    """Apply plain batches by one statement, in their order; each outcome is its own. All or none if it raises."""
    arguments: list[Any] = [tx.now]
    for batch in batches:
        arguments += batch[0][2]
    places = 1 << (len(batches) - 1).bit_length()  # few statements to prepare: an empty place finds no task
    tx.types.update(arguments[1::6])
    arguments += [None] * ((places - len(batches)) * 6)
    cursor = tx.execute(_append_statement(places), arguments)
    if cursor.rowcount == len(batches):
        first = (cursor.lastrowid or 0) - len(batches) + 1  # one writer, so they follow each other
        return [Receipt((), (position,), tx.time) for position in range(first, first + len(batches))]
    first = (cursor.lastrowid or 0) - cursor.rowcount + 1
    outcomes: list[Receipt | Conflict] = []
    for batch in batches:
        *_, task, token = batch[0][2]
        if tx.execute(_HOLDS, (task, token)).fetchone()[0]:
            outcomes.append(Receipt((), (first,), tx.time))
            first += 1
        else:
            outcomes.append(_over(task, token))
    return outcomes


@cache
def _append_statement(places: int) -> str:
    return _APPEND_ALL.format(", ".join(["(?, ?, ?, ?, ?, ?)"] * places))


def append(tx: Transaction, task: str, token: int, new: NewEvent) -> None:
    """Journal an event of the store itself, for a task that it has just claimed."""
    tx.types.add(new.type)
    tx.execute(
        _APPEND_FENCED, (tx.now, new.type, new.level, new.error_type, rows.dump(new.data, new.type), task, token)
    )


def _prepare(operation: Operation) -> Prepared:
    if isinstance(operation, Append):
        return _prepare_append(operation)
    if isinstance(operation, Put):
        record = operation.record
        return _prepare_task(operation, record) if isinstance(record, Task) else _prepare_record(operation, record)
    return (_wake_urgently if operation.urgent else _wake), "", operation.task, 0


def _prepare_append(operation: Append) -> Prepared:
    event = operation.event
    data = rows.dump(event.data, event.type)
    arguments = (event.type, event.level, event.error_type, data, operation.task)
    if operation.token is None:
        return _append_inbox, "position", arguments, len(data)
    return _append_fenced, "position", (*arguments, operation.token), len(data)


def _append_fenced(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    tx.types.add(arguments[0])
    cursor = tx.execute(_APPEND_FENCED, (tx.now, *arguments))
    if cursor.rowcount != 1:
        raise _over(arguments[-2], arguments[-1])
    return cursor.lastrowid or 0


def _over(task: str, token: int) -> Conflict:
    return Conflict(f"The claim {token} of task {task!r} is over: another worker may have it.")


def _append_inbox(tx: Transaction, arguments: tuple[Any, ...]) -> int:
    tx.types.add(arguments[0])
    cursor = tx.execute(_APPEND_INBOX, (tx.now, *arguments))
    return cursor.lastrowid or 0 if cursor.rowcount == 1 else 0


def _wake(tx: Transaction, id: str, urgent: bool = False) -> int:
    row = tx.execute(_SELECT_WAKE, (id,)).fetchone()
    if row is None:
        return 0
    seq, state, wakes, wake_at, ready, due, priority = row
    # Two statements, since one that names an indexed column rewrites the index even where nothing changes.
    tx.execute(_UPDATE_WAKE_URGENT if urgent else _UPDATE_WAKE, (seq,))
    if state == "waiting" and not ready and (urgent or (wake_at is not None and wakes + 1 >= wake_at)):
        due = tx.now if due is None else min(due, tx.now)
        tx.execute(_UPDATE_DUE, (due, due - HEAD_START * priority, seq))
    return 0


def _wake_urgently(tx: Transaction, id: str) -> int:
    return _wake(tx, id, urgent=True)


def _prepare_task(put: Put, task: Task) -> Prepared:
    if task.state is TaskState.RUNNING:
        raise StoreError(f"Task {task.id!r} cannot be put as running.", remedy="Only a claim starts a task.")
    kin = (task.handler, task.root, task.queue, task.parent, task.agent, task.session)
    what = f"Task {task.id!r}"
    error = None if task.error is None else rows.dump(task.error, what)
    retry = None if task.retry is None else rows.dump(dict(task.retry), what)
    texts = [rows.dump(value, what) for value in (task.input, task.result, dict(task.labels))]
    body = (
        str(task.state), task.priority, texts[0], texts[1], error, task.attempt, retry, task.timeout_s,
        task.deliveries, texts[2], task.retry_of,
    )  # fmt: skip
    size = sum(map(len, texts)) + len(error or "")
    return (_create_task if put.expect == 0 else _update_task), "version", (put, task, kin, body), size


def _create_task(tx: Transaction, arguments: tuple[Put, Task, tuple[Any, ...], tuple[Any, ...]]) -> int:
    put, task, kin, body = arguments
    if put.token is not None:
        raise Conflict(f"Task {task.id!r} cannot be created under a claim.")
    try:
        tx.execute(_INSERT_PUT, (task.id, tx.now, *kin, *body, *_when(tx, put, task, 0, 0)))
    except sqlite3.IntegrityError as error:
        raise Conflict(f"Task {task.id!r} exists already.") from error
    return 1


def _update_task(tx: Transaction, arguments: tuple[Put, Task, tuple[Any, ...], tuple[Any, ...]]) -> int:
    put, task, kin, body = arguments
    row = tx.execute(_SELECT_PUT, (task.id,)).fetchone()
    if row is None:
        raise Conflict(f"Task {task.id!r} does not exist.")
    seq, version, token, state, wakes, urgent_at, *former_kin = row
    _check_put(put, task.id, version, token, TaskState(state))
    ends_claim = put.token is not None
    tx.execute(_UPDATE_PUT, (int(ends_claim), *body, *_when(tx, put, task, wakes, urgent_at), seq))
    if tuple(former_kin) != kin:
        tx.execute(_UPDATE_KIN, (*kin, seq))
    return int(version) + 1


def _check_put(put: Put, id: str, version: int, token: int, state: TaskState) -> None:
    if state.terminal:
        raise Conflict(f"Task {id!r} has ended: it is {state}.")
    if version != put.expect:
        raise Conflict(f"Task {id!r} is at version {version}, not {put.expect}.")
    if put.token is None:
        if state is TaskState.RUNNING:  # nobody writes another's started task
            raise Conflict(f"Task {id!r} is running: only its worker may write it.")
    elif put.token != token or state is not TaskState.RUNNING:
        raise _over(id, put.token)


def _when(tx: Transaction, put: Put, task: Task, wakes: int, urgent_at: int) -> tuple[Any, ...]:
    """wake_at, ready, due, rank, updated, ended."""
    due = None
    if task.state in _DUE_STATES and put.due_in_s is not None:
        due = tx.now + round(put.due_in_s * 1_000_000)
    wake_at = None
    if task.state is TaskState.WAITING:
        wake_at = put.wake_at
        # What came between the worker's last look and this moment must not be slept through.
        if urgent_at > put.wakes_seen or (wake_at is not None and wakes >= wake_at):
            due = tx.now if due is None else min(due, tx.now)
    rank = None if due is None else due - HEAD_START * task.priority
    ready = int(due is not None and due <= tx.now)
    return wake_at, ready, due, rank, tx.now, tx.now if task.state.terminal else None


def _prepare_record(put: Put, record: Record) -> Prepared:
    data = rows.dump(dict(record.data), f"Record {record.kind}/{record.id}")
    return _put_record, "version", (record.kind, record.id, data, put.expect), len(data)


def _put_record(tx: Transaction, arguments: tuple[str, str, str, int]) -> int:
    kind, id, data, expect = arguments
    if expect == 0:
        try:
            tx.execute(_INSERT_RECORD, (kind, id, data))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"Record {kind}/{id} exists already.") from error
    elif tx.execute(_UPDATE_RECORD, (data, kind, id, expect)).rowcount != 1:
        raise Conflict(f"Record {kind}/{id} is not at version {expect}.")
    return expect + 1
