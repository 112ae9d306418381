"""What stands in the place of a value in a store that cannot be read: damaged, or written by something else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opspawn.contracts.events import Event


class Unreadable(dict[str, Any]):
    """Shown as `{"$unreadable": why}`; a store that is given it writes `text`, what stands there, and changes nothing.

    Nobody may take it for the value: see `first_unreadable`.
    """

    def __init__(self, why: str, text: str) -> None:
        super().__init__({"$unreadable": why})
        self.why = why
        self.text = text


def first_unreadable(events: Iterable[Event]) -> Event | None:
    """The first event whose data cannot be read; None if all can."""
    return next((event for event in events if type(event.data) is Unreadable), None)
