"""Whether a run still moves: the time of its last sign of life, and what it says of its progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from opspawn.contracts.clock import Clock

#: Listeners hear of progress at most this often, and the journal of it, in seconds.
SHOWN_S = 0.1
JOURNALED_S = 5.0


class Pulse:
    """The pulse of one life of a run.

    Attributes:
        last: when the run last showed that it is alive: recorded something, streamed, or said so; by
            `clock.monotonic()`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown = self._recorded = float("-inf")
        self.last = clock.monotonic()

    def beat(self) -> None:
        """The run is alive."""
        self.last = self._clock.monotonic()

    def report(self, data: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
        """A call of a tool says how far it is, as often as it may; shown, and not recorded."""
        self.beat()
        show({"kind": "progress", **data})

    async def progress(
        self,
        data: dict[str, Any],
        show: Callable[[dict[str, Any]], None],
        record: Callable[[dict[str, Any]], Awaitable[object]],
    ) -> None:
        """The run says how far it is; what comes too soon after the last is not passed on.

        Args:
            show: publishes, best effort. record: appends to the journal.
        """
        self.beat()
        if self.last - self._shown >= SHOWN_S:
            self._shown = self.last
            show({"kind": "progress", **data})
        if self.last - self._recorded >= JOURNALED_S:
            self._recorded = self.last
            await record(data)
