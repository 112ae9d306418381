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
from opspawn_store_redis import decoding
from opspawn_store_redis.packing import packed

Argument = str | int | float | bytes
Words = dict[str, Any]  # an operation as the script reads it; what is None is not there


@dataclass(slots=True)
class Encoded:
    """A batch that may be sent: `data` is what the script reads, `large` its large values by digest, and `size` the
    bytes of JSON in it.
    """

    batch: Batch
    data: bytes
    large: dict[str, str]
    size: int


def encode(batch: Batch) -> Encoded:
    """Check and serialise a batch. Raises: StoreError: too large, not JSON, or against the contract."""
    if len(batch.operations) > MAX_OPERATIONS:
        raise StoreError(f"A batch has {len(batch.operations)} operations; {MAX_OPERATIONS} are allowed.")
    large = Large()
    words, size = [], 0
    for operation in batch.operations:
        one, bytes_of_json = _encode(operation, large)
        words.append(one)
        size += bytes_of_json
    size += large.size if large.texts else 0
    if size > MAX_BATCH_BYTES:
        raise StoreError(
            f"A batch holds {size} bytes of data; {MAX_BATCH_BYTES} are allowed.", remedy="Commit less at once."
        )
    try:
        return Encoded(batch, packed((batch.id, words)), large.texts, size)
    except UnicodeError as error:
        raise StoreError(f"A name holds what is no text: {error}.") from error


def optional(text: str | None) -> str:
    """A text that may be missing, as an argument of a script that reads."""
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
        return {"sort": "wake", "id": operation.task, "urgent": operation.urgent, "cancel": operation.cancel}, 0
    if isinstance(operation, Take):
        rates.check(operation)
        return {
            "sort": "take", "key": operation.key, "amount": float(operation.amount),
            "unit": 1_000_000 / operation.per_s, "burst": float(operation.burst), "force": operation.force,
        }, 0  # fmt: skip
    if isinstance(operation, Delete):
        return _delete(operation), 0
    return {"sort": "lane", "handler": operation.handler, "open": operation.open}, 0


def _delete(operation: Delete) -> Words:
    if operation.kind == "event":
        position = int(operation.id) if operation.id.isdecimal() and len(operation.id) < 17 else 0
        return {"sort": "remove", "position": position, "expect": operation.expect}
    if operation.kind == "task":
        return {"sort": "forget", "id": operation.id, "expect": operation.expect}
    return {"sort": "unrecord", "kind": operation.kind, "id": operation.id, "expect": operation.expect}


def _append(operation: Append, large: Large) -> tuple[Words, int]:
    event = operation.event
    if event.type == "":
        raise StoreError("An event has no type.")
    data = large.place(rows.dump(event.data, event.type))
    words: Words = {"sort": "append", "type": event.type, "level": event.level, "data": data}
    if event.error_type is not None:
        words["err"] = event.error_type
    if operation.task is not None:
        words["id"] = operation.task
        if operation.token is not None:
            words["token"] = operation.token
    else:
        if operation.token is not None:
            raise StoreError("An event of no task came with a token.", remedy="Leave the token out.")
        if operation.agent is not None:
            words["agent"] = operation.agent
        if operation.session is not None:
            words["session"] = operation.session
    return words, len(data)


def put_task(put: Put, task: Task, large: Large) -> tuple[Words, int]:
    """A Put of a task, and the bytes of JSON in it."""
    (_, _, _, body, _), size = tasks.prepare(put, task, large)
    state, priority, strict, head_start, _, error, attempt, retry, timeout_s, deliveries, _, input, result = body
    timeout = "null" if timeout_s is None else repr(float(timeout_s))
    row: Words = {
        "s": state, "q": task.queue, "h": task.handler, "hs": head_start, "de": deliveries,
        "vb": f"[{priority},{strict},{error or 'null'},{attempt},{retry or 'null'},{timeout}]",
        "vi": input, "vr": result,
    }  # fmt: skip
    if task.parent is not None:
        row["pa"] = task.parent
    if task.agent is not None:
        row["ag"] = task.agent
    if task.root != task.id:
        row["ro"] = task.root
    if task.session is not None:
        row["se"] = task.session == decoding.own_session(task.id) or task.session
    if task.retry_of is not None:
        row["rt"] = task.retry_of
    if task.deadline is not None:
        row["dl"] = rows.microseconds(task.deadline)
    if task.holds:
        row["ho"] = [
            word for hold in task.holds for word in (hold.key, hold.limit, int(hold.while_ == "unfinished"))
        ]  # fmt: skip
    if task.labels:
        row["la"] = [word for label in task.labels.items() for word in label]
    words: Words = {"sort": "put", "id": task.id, "expect": put.expect, "row": row, "seen": put.wakes_seen}
    if put.token is not None:
        words["token"] = put.token
    if put.due_in_s is not None:
        words["due"] = round(put.due_in_s * 1_000_000)
    if put.wake_at is not None:
        words["wake_at"] = put.wake_at
    if put.deadline_in_s is not None:
        words["deadline_in"] = round(put.deadline_in_s * 1_000_000)
    if isinstance(task.input, dict) and (stand_in := _stand_in(task.input)):
        words["input_as"] = stand_in
    if isinstance(task.result, dict) and (stand_in := _stand_in(task.result)):
        words["result_as"] = stand_in
    return words, size


def put_record(put: Put, record: Record) -> tuple[Words, int]:
    """A Put of a record, and the bytes of JSON in it."""
    (_, _, data, _), size = records.prepare(put, record)
    words: Words = {"sort": "record", "kind": record.kind, "id": record.id, "expect": put.expect, "data": data}
    if record.fields:
        words["fields"] = [word for item in record.fields.items() for word in item]
    return words, size


def _stand_in(value: dict[str, Any]) -> str | None:
    """The marker that a value means if it is the stand-in of the task's own."""
    if value.keys() == {"$payload", "bytes"}:
        digest, size = value["$payload"], value["bytes"]
        if isinstance(digest, str) and isinstance(size, int) and not isinstance(size, bool):
            return f"{rows.MARK}{digest}:{size}"
    return None


def lease_words(leases: Sequence[tuple[str, int]]) -> list[Argument]:
    """Leases as the script `renew` reads them."""
    words: list[Argument] = [len(leases)]
    for lease in leases:
        words += lease
    return words
