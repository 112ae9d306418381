"""How the model keeps tasks, events and values: everything frozen, large values apart only when they are shown."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic_core

from opspawn.contracts.events import Event
from opspawn.contracts.numbers import TOO_LONG, has_long_number
from opspawn.contracts.store import (
    HEAD_START_S,
    INLINE_BYTES,
    MAX_BATCH_BYTES,
    MAX_FIELDS,
    MAX_HOLDS,
    MAX_OPERATIONS,
    MAX_PRIORITY,
    STRICT_HEAD_START_S,
    Append,
    Batch,
    Hold,
    Put,
    Record,
    Take,
    Task,
    TaskState,
)
from opspawn.errors import InvalidInput, StoreError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HORIZON_S = 100.0 * 365 * 86400


@dataclass(frozen=True, slots=True)
class Row:
    """A task with what the store alone knows; `input` and `result` are JSON texts, and None in the task."""

    task: Task
    seq: int
    input: str
    result: str
    wake_at: int | None = None
    urgent_at: int = 0
    cancel: bool = False
    places: Mapping[str, Hold] = field(default_factory=dict)  # by key

    def whole(self) -> Task:
        """The task with its values."""
        return replace(self.task, input=json.loads(self.input), result=json.loads(self.result))

    def shown(self) -> Task:
        """The task as a page has it."""
        return replace(self.task, input=stand_in(self.input), result=stand_in(self.result))

    def rank(self) -> tuple[int, int]:
        """The place in a claim's order; the task must be due."""
        assert self.task.due is not None
        unit = STRICT_HEAD_START_S if self.task.strict else HEAD_START_S
        return (self.task.due - EPOCH) // timedelta(microseconds=1) - round(self.task.priority * unit * 1e6), self.seq

    def all_places(self) -> Mapping[str, Hold]:
        """What it holds once it is claimed."""
        return {**{hold.key: hold for hold in self.task.holds}, **self.places}


@dataclass(frozen=True, slots=True)
class Line:
    """An event; its data is a JSON text, and empty in the event."""

    event: Event
    data: str

    def whole(self) -> Event:
        """The event with its data."""
        return replace(self.event, data=json.loads(self.data))

    def shown(self) -> Event:
        """The event as a page has it."""
        return replace(self.event, data=stand_in(self.data))


def write(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an entry, or remove it with None."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def seconds(amount: float) -> timedelta:
    """Seconds as the store counts them: to the microsecond."""
    return timedelta(microseconds=round(amount * 1_000_000))


def within(after: datetime | None, time: datetime | None, before: datetime | None) -> bool:
    """Whether a time lies in a half-open window."""
    assert time is not None
    return (after is None or time >= after) and (before is None or time < before)


def dump(value: Any, what: str) -> str:
    """JSON text. Raises: StoreError: it is no JSON. InvalidInput: it has too long a number."""
    try:
        text = pydantic_core.to_json(value).decode()
    except (pydantic_core.PydanticSerializationError, ValueError):
        try:
            text = json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"{what} is not JSON: {error}.") from error
    if has_long_number(text):
        raise InvalidInput(f"{what} holds {TOO_LONG}.")
    return text


def copy(value: Any) -> Any:
    """The value as it is read back."""
    return json.loads(dump(value, "A value"))


def text(value: Any, former: str) -> str:
    """The text of a value, or the former one if the value is its stand-in."""
    return former if is_large(former) and value == stand_in(former) else dump(value, "A value")


def is_large(text: str) -> bool:
    """Whether a page shows a stand-in for it."""
    return len(text.encode()) > INLINE_BYTES


def digest(text: str) -> str:
    """What a large value is called."""
    return hashlib.sha256(text.encode()).hexdigest()


def stand_in(text: str) -> Any:
    """The value as a page shows it."""
    return {"$payload": digest(text), "bytes": len(text.encode())} if is_large(text) else json.loads(text)


def check(batch: Batch) -> None:
    """Raises: StoreError: the batch is against the contract, whatever the store holds."""
    small, large = 0, {}
    for operation in batch.operations:
        for text in _texts(operation):
            if is_large(text):
                large[text] = len(text.encode())
            else:
                small += len(text.encode())
    if len(batch.operations) > MAX_OPERATIONS or small + sum(large.values()) > MAX_BATCH_BYTES:
        raise StoreError("The batch is too large.", remedy="Commit less at once.")


def _texts(operation: Any) -> list[str]:
    match operation:
        case Put(record=Task() as task):
            _check_task(operation, task)
            return [dump(task.input, task.id), dump(task.result, task.id)]
        case Put(record=Record() as record):
            few = len(record.fields) <= MAX_FIELDS and names(record.fields) and texts(record.fields)
            _require(record.kind != "task" and few, f"Record {record.kind}/{record.id}")
            return [dump(dict(record.data), record.id)]
        case Append(event=event):
            _require(bool(event.type) and not (operation.task is None and operation.token), "The event")
            return [dump(event.data, event.type)]
        case Take():
            numbers = (operation.amount, operation.per_s, operation.burst)
            sound = all(map(math.isfinite, numbers)) and operation.per_s > 0 and operation.burst > 0
            _require(sound, f"The rate {operation.key!r}")
    return []


def _check_task(put: Put, task: Task) -> None:
    keys = [hold.key for hold in task.holds]
    _require(
        task.state is not TaskState.RUNNING
        and abs(task.priority) <= MAX_PRIORITY
        and abs(put.due_in_s or 0.0) <= _HORIZON_S
        and abs(put.deadline_in_s or 0.0) <= _HORIZON_S
        and math.isfinite(task.timeout_s or 0.0)
        and len(set(keys)) == len(keys) <= MAX_HOLDS
        and all(hold.limit >= 1 and hold.while_ in ("running", "unfinished") for hold in task.holds)
        and texts(task.labels),
        f"Task {task.id!r}",
    )


def _require(sound: bool, what: str) -> None:
    if not sound:
        raise StoreError(f"{what} is against the contract of stores.")


def names(fields: Mapping[str, str]) -> bool:
    """Whether all are names of fields."""
    return all(name.isascii() and name.replace("_", "a").isalnum() and len(name) <= 32 for name in fields)


def texts(values: Mapping[str, str]) -> bool:
    """Whether all are texts with texts."""
    return all(isinstance(text, str) for item in values.items() for text in item)
