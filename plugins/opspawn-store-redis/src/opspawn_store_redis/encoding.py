"""Batches as the arguments of the script `commit`.

What a batch may hold is checked by the same code as that of the embedded store, so that both refuse the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.store import (
    MAX_BATCH_BYTES,
    MAX_OPERATIONS,
    Append,
    Batch,
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

Argument = str | int | float | bytes


@dataclass(slots=True)
class Encoded:
    """A batch that may be sent; `words` are its arguments, `large` its large values by digest, `size` their bytes."""

    batch: Batch
    words: list[Argument]
    large: dict[str, str]
    size: int


def encode(batch: Batch) -> Encoded:
    """Check and serialise a batch. Raises: StoreError: too large, not JSON, or against the contract."""
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    large = Large()
    words: list[Argument] = [optional(batch.id), len(batch.operations)]
    size = sum(_encode(operation, large, words) for operation in batch.operations)
    size += large.size if large.texts else 0
    if size > MAX_BATCH_BYTES:
        raise StoreError(
            f"A batch holds {size} bytes of data; {MAX_BATCH_BYTES} are allowed.", remedy="Commit less at once."
        )
    return Encoded(batch, words, large.texts, size)


def optional(text: str | None) -> str:
    """A text that may be missing."""
    return "" if text is None else f"={text}"


def _encode(operation: Operation, large: Large, words: list[Argument]) -> int:
    """Add the words of an operation; the bytes of JSON in it."""
    if isinstance(operation, Append):
        return _append(operation, large, words)
    if isinstance(operation, Put):
        if isinstance(operation.record, Task):
            return _put_task(operation, operation.record, large, words)
        return _put_record(operation, operation.record, words)
    if isinstance(operation, Wake):
        words += ("W", operation.task, int(operation.urgent), int(operation.cancel))
    elif isinstance(operation, Take):
        rates.check(operation)
        unit = 1_000_000 / operation.per_s
        words += ("T", operation.key, repr(operation.amount), repr(unit), repr(operation.burst), int(operation.force))
    elif isinstance(operation, Delete) and operation.kind == "event":
        position = operation.id if operation.id.isdecimal() and len(operation.id) < 17 else "0"
        words += ("V", position, operation.expect)
    elif isinstance(operation, Delete):
        words += ("X",) if operation.kind == "task" else ("D", operation.kind)
        words += (operation.id, operation.expect)
    else:
        words += ("L", operation.handler, int(operation.open))
    return 0


def _append(operation: Append, large: Large, words: list[Argument]) -> int:
    event = operation.event
    if event.type == "":
        raise StoreError("An event has no type.")
    data = large.place(rows.dump(event.data, event.type))
    told = (event.type, event.level, optional(event.error_type), data)
    if operation.task is None:
        if operation.token is not None:
            raise StoreError("An event of no task came with a token.", remedy="Leave the token out.")
        words += ("E", *told, optional(operation.agent), optional(operation.session))
    else:
        words += ("A", operation.task, "" if operation.token is None else operation.token, *told)
    return len(data)


def _put_task(put: Put, task: Task, large: Large, words: list[Argument]) -> int:
    (_, _, _, body, _), size = tasks.prepare(put, task, large)
    state, priority, strict, head_start, _, error, attempt, retry, timeout_s, deliveries, _, input, result = body
    rest = f"[{priority},{strict},{error or 'null'},{attempt},{retry or 'null'},{_number(timeout_s)}]"
    words += (
        "P", task.id, put.expect, _maybe(put.token), _offset(put.due_in_s), _maybe(put.wake_at), put.wakes_seen,
        _offset(put.deadline_in_s), "" if task.deadline is None else rows.microseconds(task.deadline),
        task.handler, task.root, task.queue, state, optional(task.parent), optional(task.agent), optional(task.session),
        optional(task.retry_of), head_start, deliveries, rest, input, _stand_in(task.input), result,
        _stand_in(task.result), len(task.holds),
    )  # fmt: skip
    for hold in task.holds:
        words += (hold.key, hold.limit, int(hold.while_ == "unfinished"))
    words.append(len(task.labels))
    for label in task.labels.items():
        words += label
    return size


def _put_record(put: Put, record: Record, words: list[Argument]) -> int:
    (_, _, data, _), size = records.prepare(put, record)
    words += ("R", record.kind, record.id, put.expect, data, len(record.fields))
    for item in record.fields.items():
        words += item
    return size


def _maybe(number: int | None) -> Argument:
    return "" if number is None else number


def _offset(seconds: float | None) -> Argument:
    return "" if seconds is None else round(seconds * 1_000_000)


def _number(value: float | None) -> str:
    return "null" if value is None else repr(float(value))


def _stand_in(value: Any) -> str:
    """The marker that a value means if it is the stand-in of the task's own."""
    if isinstance(value, dict) and value.keys() == {"$payload", "bytes"}:
        digest, size = value["$payload"], value["bytes"]
        if isinstance(digest, str) and isinstance(size, int) and not isinstance(size, bool):
            return f"{rows.MARK}{digest}:{size}"
    return ""


def lease_words(leases: Sequence[tuple[str, int]]) -> list[Argument]:
    """Leases as the script `renew` reads them."""
    words: list[Argument] = [len(leases)]
    for lease in leases:
        words += lease
    return words
