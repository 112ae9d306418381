"""Batches as the arguments of the function `commit`.

What a batch may hold is checked by the same code as that of the embedded store, so that both refuse the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.store import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Append,
    Batch,
    Check,
    Delete,
    Operation,
    Put,
    Record,
    Take,
    Task,
    Wake,
)
from opspawn.errors import StoreError
from opspawn.stores import rates, records, rows, tasks
from opspawn.stores.payloads import Large
from opspawn_store_redis import decoding
from opspawn_store_redis.packing import packed, packed_each

Argument = str | int | float | bytes
Words = tuple[Any, ...]  # an operation as the function reads it: its sort, and what `check` and `apply` get


_OF_TASKS = frozenset({"put", "append", "wake", "forget"})  # those whose first word is the id of a task


@dataclass(slots=True)
class Encoded:
    """A batch that may be sent: `operations` are what the function reads, `tasks` the ids that they name, `large` the
    large values by digest, `size` the bytes of JSON in it, and `numbers` how many it is answered; see commit.lua.
    """

    batch: Batch
    operations: list[bytes]
    tasks: list[str]
    large: dict[str, str]
    size: int
    numbers: int


def encode(batch: Batch) -> Encoded:
    """Check and serialise a batch. Raises: StoreError: too large, not JSON, or against the contract."""
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    large = Large()
    operations, size = [], 0
    tasks: dict[str, None] = {}
    try:
        for operation in batch.operations:
            one, bytes_of_json = _encode(operation, large)
            operations.append(packed_each(one))
            size += bytes_of_json
            if one[0] in _OF_TASKS and one[1] is not None:
                tasks[one[1]] = None
    except UnicodeError as error:
        raise StoreError(f"A name holds what is no text: {error}.") from error
    size += large.size if large.texts else 0
    if size > MAX_BATCH_BYTES:
        raise StoreError(
            f"A batch holds {size} bytes of data; {MAX_BATCH_BYTES} are allowed.", remedy="Commit less at once."
        )
    numbers = sum(isinstance(operation, Put | Append) for operation in batch.operations) if operations else 1
    return Encoded(batch, operations, list(tasks), large.texts, size, numbers)


def optional(text: str | None) -> str:
    """A text that may be missing, as an argument of a function that reads."""
    return "" if text is None else f"={text}"


def _encode(operation: Operation, large: Large) -> tuple[Words, int]:
    """The words of an operation, and the bytes of JSON in it."""
    if isinstance(operation, Append):
        return _append(operation, large)
    if isinstance(operation, Put):
        if isinstance(operation.record, Task):
            return put_task(operation, operation.record, large)
        return put_record(operation, operation.record)
    if isinstance(operation, Wake):
        return ("wake", operation.task, operation.urgent, operation.cancel), 0
    if isinstance(operation, Take):
        rates.check(operation)
        amount, unit, burst = float(operation.amount), 1_000_000 / operation.per_s, float(operation.burst)
        return ("take", operation.key, amount, unit, burst, operation.force), 0
    if isinstance(operation, Delete):
        return _delete(operation), 0
    if isinstance(operation, Check):
        return ("stands", operation.kind, operation.id, operation.expect), 0
    return ("lane", operation.handler, operation.open), 0


def _delete(operation: Delete) -> Words:
    if operation.kind == "event":
        position = int(operation.id) if operation.id.isdecimal() and len(operation.id) < 17 else 0
        return ("remove", position, operation.expect)
    if operation.kind == "task":
        return ("forget", operation.id, operation.expect)
    return ("unrecord", operation.kind, operation.id, operation.expect)


def _append(operation: Append, large: Large) -> tuple[Words, int]:
    event = operation.event
    if event.type == "":
        raise StoreError("An event has no type.")
    data = large.place(rows.dump(event.data, event.type))
    said = (event.type, event.level, event.error_type, data)
    if operation.task is not None:
        return ("append", operation.task, operation.token, *said), len(data)
    if operation.token is not None:
        raise StoreError("An event of no task came with a token.", remedy="Leave the token out.")
    return ("append", None, None, *said, operation.agent, operation.session), len(data)


def put_task(put: Put, task: Task, large: Large) -> tuple[Words, int]:
    """A Put of a task, and the bytes of JSON in it."""
    row, size = task_row(put, task, large)
    times = (_offset(put.due_in_s), put.wakes_seen, put.wake_at, _offset(put.deadline_in_s))
    stand_ins = (_stand_in(task.input), _stand_in(task.result))
    return ("put", task.id, put.expect, put.token, row[1], *times, *stand_ins, packed_row(row)), size


def task_row(put: Put, task: Task, large: Large) -> tuple[list[Any], int]:
    """What is kept of a task that a Put gives, in the order of `decoding.NAMES`, and the bytes of JSON in it."""
    (_, _, _, body, _), size = tasks.prepare(put, task, large)
    state, priority, strict, head_start, _, error, attempt, retry, timeout_s, deliveries, _, input, result = body
    timeout = "null" if timeout_s is None else repr(float(timeout_s))
    rest = f"[{priority},{strict},{error or 'null'},{attempt},{retry or 'null'},{timeout}]"
    session: str | bool | None = task.session
    if session is not None and session == decoding.own_session(task.id):
        session = True
    holds = None
    if task.holds:
        holds = [word for hold in task.holds for word in (hold.key, hold.limit, int(hold.while_ == "unfinished"))]
    deadline = None if task.deadline is None else rows.microseconds(task.deadline)
    kin = _kin(task) if task.parent or task.root != task.id or task.retry_of or task.labels else None
    row = [0, state, 0, 0, 0, 0, None, head_start, None, task.queue, task.handler, task.agent, session, deliveries]
    row += [0, 0, None, kin, rest, input, result, *[None] * 6, holds, None, deadline, None, None]
    return row, size


def packed_row(row: Sequence[Any]) -> bytes:
    """A task as base.lua has it: what is not there is false, and the first place is taken."""
    return packed([-1, *(False if value is None else value for value in row)])


def _kin(task: Task) -> str:
    kin: dict[str, Any] = {"pa": task.parent, "rt": task.retry_of, "ro": task.root if task.root != task.id else None}
    kin["la"] = [word for label in task.labels.items() for word in label] or None
    return json.dumps({name: value for name, value in kin.items() if value is not None}, ensure_ascii=False)


def _offset(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


def put_record(put: Put, record: Record) -> tuple[Words, int]:
    """A Put of a record, and the bytes of JSON in it."""
    (_, _, data, _), size = records.prepare(put, record)
    fields = [word for item in record.fields.items() for word in item] or None
    return ("record", record.kind, record.id, put.expect, data, fields), size


def _stand_in(value: Any) -> str | None:
    """The marker that a value means if it is the stand-in of the task's own."""
    if isinstance(value, dict) and value.keys() == {"$payload", "bytes"}:
        digest, size = value["$payload"], value["bytes"]
        if isinstance(digest, str) and isinstance(size, int) and not isinstance(size, bool):
            return f"{rows.MARK}{digest}:{size}"
    return None


def lease_words(leases: Sequence[tuple[str, int]]) -> list[Argument]:
    """Leases as the function `renew` reads them."""
    words: list[Argument] = [len(leases)]
    for lease in leases:
        words += lease
    return words
