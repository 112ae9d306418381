"""How everything in a store gets into another one, with its versions, times and positions.

A store that has these three methods beside those of `Store` can be copied, from and to. Nobody uses either store
meanwhile, which whoever moves sees to; so nothing here is fenced.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from opspawn.contracts.events import Event
from opspawn.contracts.store import Record, Store, Task


@dataclass(frozen=True, slots=True)
class KeptTask:
    """A task as it stands in a store, whole, with what the store alone knows of it.

    Attributes:
        wake_at: how many wakes it waits for. urgent_at: its `wakes` at the last urgent one, 0 for none.
        ending: whether somebody asked for its end (`Wake(cancel=True)`).
        places: the concurrency keys under which it has a place, and whether until its end (else: until its claim's).
    """

    task: Task
    wake_at: int | None = None
    urgent_at: int = 0
    ending: bool = False
    places: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptRest:
    """What is no task, record or event.

    Attributes:
        time: the store's clock, which does not go back by being moved. position: the newest ever given.
        closed: handlers whose lane is closed, sorted. rates: by key, when the bucket is full, in microseconds since
            1970, sorted.
    """

    time: datetime
    position: int
    closed: tuple[str, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()


Kept = KeptTask | Record | Event | KeptRest


class Movable(Store, Protocol):
    """A store that can be copied. What it gives and takes means the same in every store."""

    def kept(self) -> AsyncGenerator[Kept, None]:
        """Everything, values whole: tasks in the order of their creation, records by kind and then creation, events by
        position, and last the rest.
        """
        ...

    async def restore(self, items: Sequence[Kept]) -> None:
        """Put items as another store kept them, all or none, in the order in which that gave them.

        What is there in this version already, and an event up to the newest position, stays as it is: so a copy that
        was interrupted begins anew and does no harm. What is due may be claimed from then on; a lease that had not run
        out goes on to its end.

        Raises: Conflict: another version of a record or task is there, or the task of an event is not.
        """
        ...

    async def others(self) -> Sequence[str]:
        """Who else uses the store now, each in words that somebody finds it by; as far as can be known."""
        ...
