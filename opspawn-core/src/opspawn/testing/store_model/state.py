"""What the model keeps, and how a call is whole or nothing."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from opspawn.contracts.events import Event, NewEvent
from opspawn.contracts.store import REMEMBERED_S, Record
from opspawn.errors import StoreError
from opspawn.testing.store_model import values
from opspawn.testing.store_model.tail import Tail
from opspawn.testing.store_model.values import Line, Row

T = TypeVar("T")


class State:
    """The tables of the model."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._time = values.EPOCH
        self._ahead = timedelta(0)
        self._seq = self._position = 0
        self._tasks: dict[str, Row] = {}
        self._records: dict[tuple[str, str], tuple[Record, str, int]] = {}  # without data; data; seq
        self._lines: dict[int, Line] = {}
        self._rates: dict[str, float] = {}  # seconds after the epoch at which the bucket is full
        self._closed_lanes: dict[str, bool] = {}
        self._answers: dict[tuple[str, str], tuple[datetime, Any]] = {}
        self._undo: list[Callable[[], None]] = []
        self._tails: weakref.WeakSet[Tail] = weakref.WeakSet()
        self._closed = False

    def _once(self, sort: str, id: str | None, do: Callable[[], T]) -> T:
        """Do it whole or not at all; a second time under the same id, return what was returned."""
        self._open()
        self._tick()
        remembered = self._time - timedelta(seconds=REMEMBERED_S)
        self._answers = {key: kept for key, kept in self._answers.items() if kept[0] > remembered}
        if id is not None and (sort, id) in self._answers:
            answer: T = self._answers[sort, id][1]
            return answer
        before = self._position
        self._undo.clear()
        try:
            answer = do()
        except BaseException:
            for undo in reversed(self._undo):
                undo()
            self._position = before
            raise
        if id is not None:
            self._answers[sort, id] = (self._time, answer)
        news = [self._lines[n].shown() for n in range(before + 1, self._position + 1) if n in self._lines]
        for tail in list(self._tails):
            tail.offer(news)
        return answer

    def _tick(self) -> None:
        """Read the clock, which goes on from where it was if it was set back."""
        time = values.EPOCH + timedelta(microseconds=round(self._now() * 1_000_000))
        self._ahead = timedelta(0) if time >= self._time else max(self._ahead, self._time - time)
        self._time = time + self._ahead

    def _set(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        """Write one entry, None to remove it, so that it can be undone."""
        former = table.get(key)
        self._undo.append(lambda: values.write(table, key, former))
        values.write(table, key, value)

    def _journal(self, task: str | None, new: NewEvent, agent: str | None, session: str | None) -> int:
        self._position += 1
        event = Event(
            self._position, task, self._time, new.type, {}, new.level, new.error_type, agent, session
        )  # fmt: skip
        self._set(self._lines, self._position, Line(event, values.dump(new.data, new.type)))
        return self._position

    def _open(self) -> None:
        if self._closed:
            raise StoreError("The store is closed.")
