"""How often in a row the process that ran a task was lost: what its journal says of claims that ended by themselves."""

from __future__ import annotations

from datetime import datetime

from opspawn.contracts.events import Event

#: What a run records for good: a claim in which one of these came was not in vain.
_PROGRESS = frozenset({"step.done", "step.failed", "step.retry", "timer.set", "child.spawned"})
#: The types of events that tell of losses.
LOSSES = _PROGRESS | {"task.claimed", "task.isolated"}


class Losses:
    """Claims lost in a row, without a newly finished step.

    Attributes:
        lost: the workers that had these claims. alone: tries since then in a process of its own; tried: when the last
            of them began, by the store's clock.
        last_step: the key of what was recorded last.
    """

    def __init__(self) -> None:
        self.lost: list[str] = []
        self.alone = 0
        self.tried: datetime | None = None
        self.last_step: str | None = None
        self._worker = ""
        self._deliveries = 0
        self._progressed = False

    def absorb(self, event: Event) -> None:
        """Take in an event of one of `LOSSES`."""
        if event.type == "task.isolated":
            self.alone, self.tried = self.alone + 1, event.time
        elif event.type == "task.claimed":
            self._claimed(str(event.data.get("worker")), event.data.get("deliveries", 0))
        else:
            self._progressed = True
            self.last_step = event.data.get("key")

    def begin_anew(self) -> None:
        """A new generation is not suspect."""
        self.lost, self.alone = [], 0
        self._deliveries, self._progressed = 0, False

    def _claimed(self, worker: str, deliveries: int) -> None:
        """A claim: `deliveries` counts those before it that were lost; where one had progressed, they do not matter."""
        if deliveries == 0 or self._progressed:
            self.lost, self.alone = [], 0
        elif deliveries > self._deliveries:
            self.lost.append(self._worker)
        self._worker, self._deliveries, self._progressed = worker, deliveries, False
