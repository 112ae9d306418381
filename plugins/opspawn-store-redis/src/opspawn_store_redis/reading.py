"""What readers ask."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from opspawn.contracts.events import Event
from opspawn.contracts.store import EventQuery, Page, Query, Record, Task
from opspawn.contracts.unreadable import Unreadable
from opspawn.errors import InvalidInput, NotFound, StoreError
from opspawn.stores import rows
from opspawn.stores.queries import TASK_FIELDS, check_limit, cursor_position
from opspawn.stores.records import NAME
from opspawn_store_redis import decoding
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.encoding import Argument, optional
from opspawn_store_redis.lookups import Lookups

_JOURNAL_PAGE = 500
_LINES_AT_ONCE = 500
_TASKS_AT_ONCE = 100
#: Types that have no stream of their own; see `append` in write.lua.
FREQUENT = frozenset({"task.accepted", "task.claimed", "step.done", "step.started"})


class Reading:
    """All methods of the store that change nothing; mixed into it."""

    _calls: Calls
    _lookups: Lookups

    async def get(self, kind: str, id: str) -> Record | None:
        """A record other than a task, or None. Raises: StoreError: it cannot be read."""
        raw = await self._calls.read("read", "record", kind, id)
        found = decoding.record(kind, raw) if raw else None
        if found is not None and type(found.data) is Unreadable:
            raise StoreError(f"The record {kind}/{id} cannot be read: {found.data.why}.")
        return found

    async def get_task(self, id: str) -> Task | None:
        """A task, or None."""
        row = await self._lookups.task(id)
        return None if row is None else await self._whole(row)

    async def _whole(self, row: decoding.Row) -> Task:
        markers = decoding.markers_of_task(row)
        return decoding.task(row, await self._large(markers) if markers else {})

    async def _large(self, digests: Sequence[str]) -> decoding.Values:
        """Large values by their digests; one that has just been deleted is shown by its stand-in."""
        found: decoding.Values = {}
        for digest in set(digests):
            text = await self._payload_text(digest)
            found[digest] = f'{{"$payload":"{digest}","bytes":0}}' if text is None else text
        return found

    async def _payload_text(self, digest: str) -> str | None:
        return decoding.text(await self._calls.fetch("HGET", f"p:{digest}", "data"))

    async def payload(self, digest: str) -> Any:
        """The value of a digest. Raises: NotFound."""
        text = await self._payload_text(digest)
        if text is None:
            raise NotFound("payload", digest)
        return rows.load(text)

    async def wakes(self, tasks: Sequence[str]) -> dict[str, int]:
        """The `wakes` of those tasks that exist."""
        if not tasks:
            return {}
        counts = await self._calls.read("read", "wakes", *tasks)
        return {task: count for task, count in zip(tasks, counts, strict=True) if count >= 0}

    async def find_tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first. Raises: InvalidInput: unknown field, limit out of range, foreign cursor."""
        for name in query.where:
            if name not in TASK_FIELDS:
                raise InvalidInput(
                    f"Tasks cannot be searched by {name!r}.", remedy=f"Use one of {', '.join(TASK_FIELDS)}."
                )
        found, cursor = await self._find("task", query)
        return Page([decoding.task(decoding.row(raw)) for raw in found], cursor)

    async def find(self, kind: str, query: Query) -> Page[Record]:
        """Records of a kind that match, newest first. Raises: InvalidInput: as `find_tasks`."""
        if kind == "task" or query.labels or query.ended_before is not None:
            raise InvalidInput("Only tasks have labels and an end.", remedy="Find tasks by `find_tasks`.")
        for name in query.where:
            if name != "id" and not NAME.fullmatch(name):
                raise InvalidInput(f"Records have no field {name!r}.", remedy='Names are of letters, digits and "_".')
        found, cursor = await self._find(kind, query)
        records = [decoding.record(kind, raw) for raw in found]
        return Page([record for record in records if type(record.data) is not Unreadable], cursor)

    async def _find(self, kind: str, query: Query) -> tuple[list[Any], str | None]:
        check_limit(query.limit, 200)
        start: int | str = "" if query.cursor is None else cursor_position(query.cursor)
        found: list[Any] = []
        while True:
            wanted = query.limit + 1 - len(found)
            items, reached, over = await self._calls.read("find", kind, wanted, start, *_search_words(query))
            found += items
            if over or len(found) > query.limit:
                break
            start = reached
        cursor = None
        if len(found) > query.limit:
            last = found[query.limit - 1]
            cursor = str(decoding.seq_of(last) if kind == "task" else last[-1])
        return found[: query.limit], cursor

    async def journal(self, task: str, after: int = 0) -> list[Event]:
        """The events of one task after a position, oldest first."""
        found: list[Any] = []
        at, count = 0, _JOURNAL_PAGE
        while count == _JOURNAL_PAGE:
            count, entries = await self._calls.read("read", "journal", task, after, at, _JOURNAL_PAGE)
            found += entries
            at += count
        found.sort(key=lambda entry: decoding.position(entry[0]))
        large = await self._large([marker for entry in found if (marker := decoding.marker_of_event(entry))])
        return [decoding.event(entry, large) for entry in found]

    async def events(self, query: EventQuery) -> list[Event]:
        """Events over all tasks. Raises: InvalidInput: the limit is out of range."""
        check_limit(query.limit, 1000)
        if query.task is not None or query.root is not None or query.session is not None:
            if query.apart:
                return []
            return await self._events_of_tasks(query)
        found: list[Any] = []
        start = query.position
        if query.newest:
            start = 1 << 52
        while True:
            words = event_words(query, start, query.limit - len(found))
            entries, start, over, _ = await self._calls.read("events", *words)
            found += entries
            if over or len(found) >= query.limit:
                break
            if query.newest and start <= query.position:
                break
        events = [decoding.event(entry) for entry in found]
        if query.newest:
            events = [event for event in reversed(events) if event.position > query.position]
        return events

    async def _events_of_tasks(self, query: EventQuery) -> list[Event]:
        """Of one task, a tree or a session: the positions are known, and are read from the end that is asked for."""
        lists = [[query.task]] if query.task is not None else []
        places: list[int] = []
        if query.root is not None:
            (raw,) = await self._calls.read("read", "tasks", query.root)
            own = [query.root] if raw != 0 and decoding.task(decoding.row(raw)).root == query.root else []
            lists.append([*own, *await self._indexed("root", query.root)])
        if query.session is not None:
            lists.append(await self._tasks_of_session(query.session))
            if query.task is None and query.root is None:
                apart = await self._calls.fetch("XRANGE", f"e:session:{query.session}", "-", "+")
                places = [decoding.position(entry[0]) for entry in apart]
        tasks = set[str](lists[0]).intersection(*lists[1:])
        known = sorted(tasks)
        for start in range(0, len(known), _TASKS_AT_ONCE):
            for some in await self._calls.read("read", "places", *known[start : start + _TASKS_AT_ONCE]):
                places += some
        places = sorted((place for place in places if place > query.position), reverse=query.newest)
        found: list[Event] = []
        for start in range(0, len(places), _LINES_AT_ONCE):
            lines = await self._calls.read("read", "lines", *places[start : start + _LINES_AT_ONCE])
            found += [event for event in map(decoding.event, lines) if _matches(event, query)]
            if len(found) >= query.limit:
                break
        found = found[: query.limit]
        return found[::-1] if query.newest else found

    async def _tasks_of_session(self, session: str) -> list[str]:
        """Those in its list, and the one whose own it is: see base.lua."""
        listed = await self._indexed("session", session)
        if not session.startswith("s-"):
            return listed
        owner = f"t-{session[2:]}"
        (raw,) = await self._calls.read("read", "tasks", owner)
        return [owner, *listed] if raw != 0 and decoding.task(decoding.row(raw)).session == session else listed

    async def _indexed(self, name: str, value: str) -> list[str]:
        return [decoding.must(id) for id in await self._calls.fetch("ZRANGE", f"i:{name}:{value}", 0, -1)]

    async def events_after(self, position: int, limit: int, types: Set[str]) -> tuple[list[Event], int]:
        """The next events after a position, of these types or all, and up to where that is all of them."""
        while True:
            query = EventQuery(position=position, limit=limit, types=sorted(types))
            entries, position, over, _ = await self._calls.read("events", *event_words(query, position, limit))
            if entries or over:
                return [decoding.event(entry) for entry in entries], position


def _search_words(query: Query) -> list[Argument]:
    words: list[Argument] = [
        "" if time is None else rows.microseconds(time) for time in (query.after, query.before, query.ended_before)
    ]
    for searched in (query.where, query.labels):
        words.append(len(searched))
        for item in searched.items():
            words += item
    return words


def event_words(query: EventQuery, start: int, limit: int) -> list[Argument]:
    """What the function `events` is asked."""
    times = ["" if time is None else rows.microseconds(time) for time in (query.after, query.before)]
    given = (query.task, query.agent, query.session, query.error_type, query.level)
    words: list[Argument] = [start, int(query.newest), limit, *times, *map(optional, given)]
    return [*words, len(query.types), *query.types, *_streams(query)]


def _streams(query: EventQuery) -> list[str]:
    """Those that hold all that can match: the fewest first."""
    if query.apart:
        return ["e:apart"]
    if query.error_type is not None:
        return [f"e:error:{query.error_type}"]
    if query.level not in (None, "info"):
        return [f"e:level:{query.level}"]
    if query.types and len(query.types) <= 16 and FREQUENT.isdisjoint(query.types):
        return [f"e:type:{type}" for type in sorted(set(query.types))]
    return ["ev"] if query.agent is None else [f"e:agent:{query.agent}"]


def _matches(event: Event, query: EventQuery) -> bool:
    given = ("agent", "session", "error_type", "level")
    return (
        all(getattr(query, name) in (None, getattr(event, name)) for name in given)
        and (not query.types or event.type in query.types)
        and (query.after is None or event.time >= query.after)
        and (query.before is None or event.time < query.before)
    )
