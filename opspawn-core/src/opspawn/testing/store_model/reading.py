"""How the model is read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import (
    EventQuery,
    Finding,
    Page,
    Query,
    Record,
    Task,
)
from opspawn.errors import InvalidInput, NotFound
from opspawn.testing.store_model import values
from opspawn.testing.store_model.state import State
from opspawn.testing.store_model.tail import Tail
from opspawn.testing.store_model.values import Line

_TASK_FIELDS = ("id", "state", "handler", "queue", "parent", "root", "agent", "session", "retry_of")
T = TypeVar("T")


class Reading(State):
    """All methods that change nothing, and the end."""

    async def wakes(self, tasks: Sequence[str]) -> dict[str, int]:
        """The `wakes` of those tasks that exist."""
        self._open()
        return {id: self._tasks[id].task.wakes for id in tasks if id in self._tasks}

    async def get(self, kind: str, id: str) -> Record | None:
        """A record other than a task, or None."""
        self._open()
        found = self._records.get((kind, id))
        return None if found is None else replace(found[0], data=json.loads(found[1]))

    async def get_task(self, id: str) -> Task | None:
        """A task, or None."""
        self._open()
        row = self._tasks.get(id)
        return None if row is None else row.whole()

    async def find_tasks(self, query: Query) -> Page[Task]:
        """Tasks that match, newest first. Raises: InvalidInput."""
        unknown = query.where.keys() - set(_TASK_FIELDS)
        if unknown:
            raise InvalidInput(f"Tasks cannot be searched by {sorted(unknown)}.")
        found = [
            (row.seq, row.shown())
            for row in self._tasks.values()
            if all(getattr(row.task, name) == value for name, value in query.where.items())
            and query.labels.items() <= row.task.labels.items()
            and values.within(query.after, row.task.created, query.before)
            and (query.ended_before is None or (row.task.ended is not None and row.task.ended < query.ended_before))
        ]
        return self._page(found, query)

    async def find(self, kind: str, query: Query) -> Page[Record]:
        """Records of a kind that match, newest first. Raises: InvalidInput."""
        if kind == "task" or query.labels or query.ended_before is not None or not values.names(query.where):
            raise InvalidInput("Only tasks have labels and an end, and fields have plain names.")
        found = [
            (seq, replace(record, data=json.loads(data)))
            for record, data, seq in self._records.values()
            if record.kind == kind
            and query.where.items() <= {**record.fields, "id": record.id}.items()
            and values.within(query.after, record.created, query.before)
        ]
        return self._page(found, query)

    def _page(self, found: Iterable[tuple[int, T]], query: Query) -> Page[T]:
        self._open()
        if not 1 <= query.limit <= 200 or not re.fullmatch(r"[0-9]{1,18}", query.cursor or "0"):
            raise InvalidInput("The limit is out of range, or the cursor is none of this store.")
        before = math.inf if query.cursor is None else int(query.cursor)
        newest = sorted((one for one in found if one[0] < before), key=lambda one: -one[0])
        items = newest[: query.limit]
        return Page([item for _, item in items], str(items[-1][0]) if len(newest) > len(items) else None)

    async def payload(self, digest: str) -> Any:
        """The value of a digest. Raises: NotFound."""
        self._open()
        texts = [text for row in self._tasks.values() for text in (row.input, row.result)]
        for text in texts + [line.data for line in self._lines.values()]:
            if values.is_large(text) and values.digest(text) == digest:
                return json.loads(text)
        raise NotFound("payload", digest)

    async def journal(self, task: str, after: int = 0) -> list[Event]:
        """The events of one task after a position, oldest first."""
        self._open()
        return [line.whole() for line in self._after(after) if line.event.task == task]

    async def events(self, query: EventQuery) -> list[Event]:
        """Events over all tasks. Raises: InvalidInput."""
        self._open()
        if not 1 <= query.limit <= 1000:
            raise InvalidInput("The limit is out of range.")
        found = [line.shown() for line in self._after(query.position) if self._matches(line.event, query)]
        return found[-query.limit :] if query.newest else found[: query.limit]

    def _after(self, position: int) -> list[Line]:
        return [self._lines[key] for key in sorted(self._lines) if key > position]

    def _matches(self, event: Event, query: EventQuery) -> bool:
        row = self._tasks.get(event.task or "")
        root = None if row is None or event.task is None else row.task.root
        given = {"task": query.task, "agent": query.agent, "session": query.session}
        given |= {"error_type": query.error_type, "level": query.level}
        return (
            all(value is None or getattr(event, name) == value for name, value in given.items())
            and (query.root is None or root == query.root)
            and (event.task is None or not query.apart)
            and (not query.types or event.type in query.types)
            and values.within(query.after, event.time, query.before)
        )

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas to whoever tails."""
        for tail in list(self._tails):
            tail.offer(deltas)

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> AsyncIterator[Event | TaskDelta]:
        """Events as they are committed, and deltas between them. Ends when the store is closed."""
        tail = Tail(frozenset(types))
        if self._closed:
            tail.end()
        elif after is not None:
            tail.offer([line.shown() for line in self._after(after)])
        self._tails.add(tail)
        return tail

    async def check(self) -> Sequence[Finding]:
        """That nothing here is durable."""
        self._open()
        return [Finding("warning", "The store is a model in memory.", "Use it in tests only.")]

    async def aclose(self) -> None:
        """Close, and end all tails. Idempotent."""
        self._closed = True
        for tail in list(self._tails):
            tail.end()
