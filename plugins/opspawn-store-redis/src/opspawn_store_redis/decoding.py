"""What the scripts answer, as records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import Hold, Operation, Put, Receipt, Record, Task, TaskState
from opspawn.errors import Conflict, Limited, StoreError
from opspawn.stores import rows
from opspawn.stores.tasks import over

Values = dict[str, str]  # large values by digest


def text(raw: Any) -> str | None:
    """A text that may be missing."""
    return None if raw is None else raw.decode("utf-8", "surrogatepass")


def must(raw: Any) -> str:
    """A text."""
    return str(raw.decode("utf-8", "surrogatepass"))


def task(raw: Sequence[Any], large: Values | None = None) -> Task:
    """A task; with the large values it is whole, without them it has stand-ins."""
    priority, strict, error, attempt, retry, timeout_s = rows.load(must(raw[21]))
    fetch = None if large is None else large.__getitem__
    return Task(
        id=must(raw[0]),
        handler=must(raw[1]),
        root=must(raw[2]),
        queue=must(raw[3]),
        state=TaskState(must(raw[4])),
        priority=priority,
        parent=text(raw[5]),
        agent=text(raw[6]),
        session=text(raw[7]),
        input=rows.load(must(raw[22]), fetch),
        result=rows.load(must(raw[23]), fetch),
        error=error,
        attempt=attempt,
        retry=retry,
        timeout_s=timeout_s,
        deliveries=raw[9],
        labels=pairs(raw[20]),
        retry_of=text(raw[8]),
        strict=bool(strict),
        holds=_holds(raw[19]),
        deadline=_time(raw[10]),
        version=raw[11],
        token=raw[12],
        wakes=raw[13],
        owner=text(raw[14]),
        due=_time(raw[15]),
        created=_time(raw[16]),
        updated=_time(raw[17]),
        ended=_time(raw[18]),
    )


def markers_of_task(raw: Sequence[Any]) -> list[str]:
    """The digests of a task's large values."""
    return [rows.digest(must(value)) for value in raw[22:24] if value[:1] == b"@"]


def _holds(raw: Sequence[Any] | None) -> tuple[Hold, ...]:
    if raw is None:
        return ()
    every = range(0, len(raw), 3)
    return tuple(Hold(must(raw[n]), raw[n + 1], "unfinished" if raw[n + 2] else "running") for n in every)


def pairs(raw: Sequence[Any] | None) -> dict[str, str]:
    """Names with values."""
    return {} if raw is None else {must(raw[n]): must(raw[n + 1]) for n in range(0, len(raw), 2)}


def _time(raw: int | None) -> Any:
    return None if raw is None else rows.moment(raw)


def record(kind: str, raw: Sequence[Any]) -> Record:
    """A record of a kind."""
    created, updated = rows.moment(raw[2]), rows.moment(raw[3])
    return Record(kind, must(raw[0]), rows.load(must(raw[5])), raw[1], pairs(raw[4]), created, updated)


def event(entry: Sequence[Any], large: Values | None = None) -> Event:
    """An entry of the stream of events."""
    place, flat = entry
    fields = {flat[n]: flat[n + 1] for n in range(0, len(flat), 2)}
    fetch = None if large is None else large.__getitem__
    return Event(
        position=position(place),
        task=None if fields[b"x"] else must(fields[b"k"]),
        time=rows.moment(int(fields[b"m"])),
        type=must(fields[b"c"]),
        data=rows.load(must(fields[b"d"]), fetch),
        level=must(fields[b"l"]),  # type: ignore[arg-type]
        error_type=_given(fields[b"e"]),
        agent=_given(fields[b"a"]),
        session=_given(fields[b"s"]),
    )


def position(place: bytes) -> int:
    """The position that an id of the stream stands for."""
    return int(place.partition(b"-")[0])


def marker_of_event(entry: Sequence[Any]) -> str | None:
    """The digest of an event's large data, if it is large."""
    data = entry[1][11]  # see `append` in write.lua
    return rows.digest(must(data)) if data[:1] == b"@" else None


def _given(raw: bytes) -> str | None:
    return must(raw[1:]) if raw else None


def outcome(operations: Sequence[Operation], raw: Sequence[Any]) -> Receipt | StoreError:
    """What became of a batch."""
    if raw[0] == 1:
        return Receipt(raw[1], raw[2], rows.moment(raw[3]))
    return refusal(operations[raw[1]], must(raw[2]), raw[3])


def refusal(operation: Any, why: str, more: Any) -> StoreError:
    """Why a batch was refused, in words."""
    if why == "limited":
        return Limited(operation.key, (math.ceil(float(more)) + 1) / 1_000_000)
    if why == "apart":
        return Conflict(f"There is no event of no task at {operation.id!r}.")
    if isinstance(operation, Put):
        put: Any = operation.record
        what = f"Task {put.id!r}" if isinstance(put, Task) else f"Record {put.kind}/{put.id}"
    elif hasattr(operation, "kind"):
        what = f"Task {operation.id!r}" if operation.kind == "task" else f"Record {operation.kind}/{operation.id}"
    else:
        what = f"Task {operation.task!r}"
    if why == "over":
        return over(operation.record.id if isinstance(operation, Put) else operation.task, operation.token)
    words = {
        "claimless": "cannot be created under a claim",
        "exists": "exists already",
        "absent": "does not exist",
        "ended": f"has ended: it is {must(more) if isinstance(more, bytes) else more}",
        "running": "is running: only its worker may write it",
        "alive": "has not ended",
        "version": f"is at version {more}, not {getattr(operation, 'expect', 0)}",
    }
    return Conflict(f"{what} {words[why]}.")
