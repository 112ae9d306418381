"""Rows to records and back: columns, times and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from loguru import logger
from pydantic_core import PydanticSerializationError, from_json, to_json

from opspawn.contracts.events import Event
from opspawn.contracts.numbers import MAX_DIGITS, TOO_LONG, has_long_number
from opspawn.contracts.store import Hold, Record, Task, TaskState
from opspawn.contracts.unreadable import Unreadable
from opspawn.errors import InvalidInput, StoreError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: What `task` reads: the fields of a Task, in their order.
TASK_COLUMNS = (
    "id, handler, root, queue, state, priority, parent, agent, session, input, result, error, attempt, retry, "
    "timeout_s, deliveries, labels, retry_of, strict, holds, deadline, version, token, wakes, owner, due, "
    "created, updated, ended"
)
_NAMES = TASK_COLUMNS.split(", ")
_STATE = _NAMES.index("state")
_STATES = {state.value: state for state in TaskState}
_STRICT, _HOLDS = _NAMES.index("strict"), _NAMES.index("holds")
_JSON = [_NAMES.index(name) for name in ("input", "result", "error", "retry", "labels")]
_TIMES = [_NAMES.index(name) for name in ("deadline", "due", "created", "updated", "ended")]
#: What `event` reads, in its order, from events joined with tasks.
EVENT_COLUMNS = (
    "events.position, tasks.id, events.time, events.type, events.data, events.level, events.error_type, "
    "events.agent, events.session"
)
MARK = "@"  # begins the marker of a large value; see `payloads`


def dump(value: Any, what: str) -> str:
    """A value as JSON text; `what` names it if it is not JSON.

    Raises: StoreError: it holds something that JSON cannot say. InvalidInput: a number that nobody could read again.
    """
    if type(value) is not dict:
        if value is None:
            return "null"
        if type(value) is Unreadable:
            return str(value.text)
    try:
        text = to_json(value).decode()
    except (PydanticSerializationError, ValueError) as error:
        try:
            text = json.dumps(value)  # half a surrogate pair, which models do send, only passes here
        except (TypeError, ValueError, RecursionError):
            raise StoreError(f"{what} is not JSON: {error}.") from error
    if len(text) > MAX_DIGITS and has_long_number(text):
        raise InvalidInput(f"{what} holds {TOO_LONG}.")
    return text


def load(text: str, fetch: Callable[[str], str] | None = None, of: str | int = "a row") -> Any:
    """The value of a JSON text that `dump` made; of a marker, what `fetch` gets for its digest, or a stand-in.

    What cannot be read becomes an `Unreadable`: one bad row must not hide the others. `of` names the task, or the
    position of the event, that has it.
    """
    if text[:1] == MARK:
        if fetch is None:
            return {"$payload": digest(text), "bytes": int(text.partition(":")[2])}
        text = fetch(digest(text))
    try:
        return from_json(text)
    except ValueError:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            _tell(f"event {of}" if isinstance(of, int) else of, len(text), str(error))
            return Unreadable(str(error), text)


@lru_cache(maxsize=1000)
def _tell(of: str, characters: int, why: str) -> None:
    """Log it, once."""
    logger.bind(error_type="unreadable").error(
        "A value of {} in the store, of {} characters, cannot be read: {}", of, characters, why
    )


def digest(marker: str) -> str:
    """The digest in a marker."""
    return marker[1:].partition(":")[0]


def size(text: str) -> int:
    """The bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


@lru_cache(maxsize=64)  # a row has the same time twice, and all that a group wrote have it
def moment(microseconds: int) -> datetime:
    """A stored time as aware UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(time: datetime) -> int:
    """A time as it is stored. Raises: InvalidInput: it has no time zone."""
    if time.tzinfo is None:
        raise InvalidInput(f"The time {time.isoformat()} has no time zone.", remedy="Give an aware datetime.")
    return (time - _EPOCH) // _MICROSECOND


def task(row: tuple[Any, ...], fetch: Callable[[str], str] | None = None) -> Task:
    """A row of `TASK_COLUMNS` as a task; whole with `fetch`, else with stand-ins for large values."""
    values = list(row)
    values[_STATE] = _STATES[row[_STATE]]
    values[_STRICT] = bool(row[_STRICT])
    values[_HOLDS] = holds(row[_HOLDS])
    for place in _JSON:
        if row[place] is not None:
            values[place] = load(row[place], fetch, row[0])
    for place in _TIMES:
        if row[place] is not None:
            values[place] = moment(row[place])
    return Task(*values)


def holds(text: str | None) -> tuple[Hold, ...]:
    """The holds in the column of that name."""
    return () if text is None else tuple(Hold(*hold) for hold in json.loads(text))


def event(row: tuple[Any, ...], fetch: Callable[[str], str] | None = None) -> Event:
    """A row of `EVENT_COLUMNS` as an event; whole with `fetch`, else with a stand-in for large data."""
    return Event(row[0], row[1], moment(row[2]), row[3], load(row[4], fetch, row[0]), *row[5:9])


RECORD_COLUMNS = "kind, id, data, version, fields, created, updated"


def record(row: tuple[Any, ...]) -> Record:
    """A row of `RECORD_COLUMNS` as a record."""
    return Record(
        row[0], row[1], load(row[2], None, f"{row[0]}/{row[1]}"), row[3], load(row[4]), moment(row[5]), moment(row[6])
    )


def texts(values: Mapping[str, str], what: str) -> dict[str, str]:
    """Labels or fields, checked. Raises: StoreError: something in it is no text."""
    for name, value in values.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise StoreError(f"{what}: {name!r} must be a text with a text, not {value!r}.")
    return dict(values)
