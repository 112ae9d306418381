"""What the functions answer, as records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import Hold, Record, Task, TaskState
from opspawn.stores import rows
from opspawn_store_redis.packing import unpacked

Values = dict[str, str]  # large values by digest
PARTS = ("vb", "vi", "vr")
#: What a packed task holds, in its order, after the first place; see base.lua.
NAMES = (
    "n", "s", "v", "t", "w", "r", "d", "hs", "o", "q", "h", "ag", "se", "de", "cr", "up", "en", "kin", *PARTS, "j",
    "u", "wa", "c", "l", "p", "ho", "pl", "dl", "lg", "who",
)  # fmt: skip
Row = dict[str, Any]


def text(raw: Any) -> str | None:
    """A text that may be missing."""
    return None if raw is None else raw.decode("utf-8", "surrogatepass")


def must(raw: Any) -> str:
    """A text."""
    return str(raw.decode("utf-8", "surrogatepass"))


def row(raw: Sequence[Any]) -> Row:
    """A task as the functions keep it, whole, with its `id`; see base.lua.

    `raw` is its id, the packed task, and those of the texts of `PARTS` that are not in that.
    """
    kept = fields(raw[1])
    kept["id"] = must(raw[0])
    for n, name in enumerate(PARTS):
        if kept[name] is None:
            kept[name] = must(raw[2 + n])
    return kept


def fields(packed: bytes) -> Row:
    """A packed task by the names of base.lua, as far as it is not kept beside."""
    values = unpacked(packed)[1:]
    row = dict(zip(NAMES, [None if value is False else value for value in values], strict=True))
    if row["kin"] is not None:
        row.update(json.loads(row["kin"]))
    return row


def task(row: Row, large: Values | None = None) -> Task:
    """A task; with the large values it is whole, without them it has stand-ins."""
    priority, strict, error, attempt, retry, timeout_s = rows.load(row["vb"])
    fetch = None if large is None else large.__getitem__
    get = row.get
    id, session = row["id"], get("se")
    return Task(
        id=id,
        handler=row["h"],
        root=get("ro") or id,
        queue=row["q"],
        state=TaskState(row["s"]),
        priority=priority,
        parent=get("pa"),
        agent=get("ag"),
        session=own_session(id) if session is True else session,
        input=rows.load(row["vi"], fetch, id),
        result=rows.load(row["vr"], fetch, id),
        error=error,
        attempt=attempt,
        retry=retry,
        timeout_s=timeout_s,
        deliveries=row["de"],
        labels=_pairs(get("la")),
        retry_of=get("rt"),
        strict=bool(strict),
        holds=_holds(get("ho")),
        deadline=_time(get("dl")),
        version=row["v"],
        token=row["t"],
        wakes=row["w"],
        owner=get("o"),
        due=_time(get("d")),
        created=rows.moment(row["cr"]),
        updated=rows.moment(row["up"]),
        ended=_time(get("en")),
    )


def own_session(id: str) -> str | None:
    """The session that is a task's own, which is kept as True: "s-X" of "t-X"; None for ids of another form."""
    return f"s-{id[2:]}" if id.startswith("t-") else None


def is_whole(row: Row) -> bool:
    """Whether nothing of an unpacked task lies beside it."""
    return all(row[name] is not None for name in PARTS)


def markers_of_task(row: Row) -> list[str]:
    """The digests of a task's large values."""
    if row["lg"] is None:
        return []
    return [rows.digest(value) for value in (row["vi"], row["vr"]) if value[:1] == rows.MARK]


def seq_of(raw: Sequence[Any]) -> int:
    """The number of a task in the order of creation."""
    return int(fields(raw[1])["n"])


def _holds(raw: Sequence[Any] | None) -> tuple[Hold, ...]:
    if raw is None:
        return ()
    every = range(0, len(raw), 3)
    return tuple(Hold(raw[n], raw[n + 1], "unfinished" if raw[n + 2] else "running") for n in every)


def _pairs(raw: Sequence[str] | None) -> dict[str, str]:
    return {} if raw is None else dict(zip(raw[::2], raw[1::2], strict=True))


def pairs(raw: Sequence[Any] | None) -> dict[str, str]:
    """Names with values."""
    return {} if raw is None else {must(raw[n]): must(raw[n + 1]) for n in range(0, len(raw), 2)}


def _time(raw: int | None) -> Any:
    return None if raw is None else rows.moment(raw)


def record(kind: str, raw: Sequence[Any]) -> Record:
    """A record of a kind."""
    created, updated = rows.moment(raw[2]), rows.moment(raw[3])
    id = must(raw[0])
    return Record(kind, id, rows.load(must(raw[5]), None, f"{kind}/{id}"), raw[1], pairs(raw[4]), created, updated)


def event(entry: Sequence[Any], large: Values | None = None) -> Event:
    """An event, as an entry of its own."""
    place, (_, data) = entry
    return _event(position(place), data, large)


def new_events(entries: Sequence[Sequence[Any]], after: int) -> list[Event] | None:
    """The events after a position, in their order, of entries of the stream of all events or of streams of types; None
    if such a stream lacks one of them itself. See base.lua, and append in journal.lua.
    """
    found: list[Event] = []
    for entry in entries:
        places, packed = entry[1][::2], entry[1][1::2]
        first = position(entry[0]) - len(packed) + 1
        for n, (place, data) in enumerate(zip(places, packed, strict=True)):
            if not data:
                return None
            at = int(place) if place else first + n
            if at > after:
                found.append(_event(at, data))
    return sorted(found, key=lambda event: event.position)


def _event(at: int, data: bytes, large: Values | None = None) -> Event:
    task, time, type, level, error, text, agent, session = unpacked(data)
    return Event(
        position=at,
        task=task or None,
        time=rows.moment(time),
        type=type,
        data=rows.load(text, None if large is None else large.__getitem__, at),
        level=level,
        error_type=error or None,
        agent=agent or None,
        session=own_session(task) if session is True else session or None,
    )


def position(place: bytes) -> int:
    """The position that an id of the stream stands for."""
    return int(place.partition(b"-")[0])


def marker_of_event(entry: Sequence[Any]) -> str | None:
    """The digest of an event's large data, if it is large."""
    data = unpacked(entry[1][1])[5]
    return rows.digest(data) if data[:1] == rows.MARK else None
