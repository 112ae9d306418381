"""Rows to records and back: columns, times and JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic_core

from opspawn.contracts.events import Event
from opspawn.contracts.store import Record, Task, TaskState
from opspawn.errors import InvalidInput, StoreError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: What `task` reads: the fields of a Task, in their order.
TASK_COLUMNS = (
    "id, handler, root, queue, state, priority, parent, agent, session, input, result, error, attempt, retry, "
    "timeout_s, deliveries, labels, retry_of, version, token, wakes, owner, due, created, updated, ended"
)
_NAMES = TASK_COLUMNS.split(", ")
_STATE = _NAMES.index("state")
_JSON = [_NAMES.index(name) for name in ("input", "result", "error", "retry", "labels")]
_TIMES = [_NAMES.index(name) for name in ("due", "created", "updated", "ended")]
#: What `event` reads, in its order, from events joined with tasks.
EVENT_COLUMNS = (
    "events.position, tasks.id, events.time, events.type, events.data, events.level, events.error_type, "
    "events.agent, events.session"
)


def dump(value: Any, what: str) -> str:
    """A value as JSON text; `what` names it if it is not JSON.

    Raises: StoreError: it holds something that JSON cannot say.
    """
    try:
        return pydantic_core.to_json(value).decode()
    except (pydantic_core.PydanticSerializationError, ValueError) as error:
        try:
            return json.dumps(value)  # half a surrogate pair, which models do send, only passes here
        except (TypeError, ValueError, RecursionError):
            raise StoreError(f"{what} is not JSON: {error}.") from error


def load(text: str) -> Any:
    """The value of a JSON text that `dump` made."""
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        return json.loads(text)


def moment(microseconds: int) -> datetime:
    """A stored time as aware UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(time: datetime) -> int:
    """A time as it is stored. Raises: InvalidInput: it has no time zone."""
    if time.tzinfo is None:
        raise InvalidInput(f"The time {time.isoformat()} has no time zone.", remedy="Give an aware datetime.")
    return (time - _EPOCH) // _MICROSECOND


def task(row: tuple[Any, ...]) -> Task:
    """A row of `TASK_COLUMNS` as a task."""
    values = list(row)
    values[_STATE] = TaskState(row[_STATE])
    for place in _JSON:
        if row[place] is not None:
            values[place] = load(row[place])
    for place in _TIMES:
        if row[place] is not None:
            values[place] = moment(row[place])
    return Task(*values)


def event(row: tuple[Any, ...]) -> Event:
    """A row of `EVENT_COLUMNS` as an event."""
    return Event(row[0], row[1], moment(row[2]), row[3], load(row[4]), *row[5:9])


def record(row: tuple[Any, ...]) -> Record:
    """A row (kind, id, data, version) as a record."""
    return Record(row[0], row[1], load(row[2]), row[3])
