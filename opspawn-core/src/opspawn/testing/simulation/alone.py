"""The process of its own in which a simulated worker tries a task that ended its workers; it shares their fate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from opspawn.contracts.store import Lease
from opspawn.ops.run.executor import Worker
from opspawn.ops.run.poison import Cell
from opspawn.ops.run.store_time import StoreTime
from opspawn.testing.simulation.process import Process


class SimulatedCell(Cell):
    """Lives one life of the task. `employ` makes a worker under the name of the process."""

    def __init__(self, process: Process, lease: Lease, ahead_s: float, employ: Callable[[Process], Worker]) -> None:
        super().__init__((), {})
        self._task = lease.task
        now = process.monotonic()
        self._clock = StoreTime(process, datetime.fromtimestamp(now + ahead_s, UTC), now)
        self._worker = employ(process)

    async def run(self) -> str | None:
        await self._worker.run_alone(self._task, self._clock)
        return None

    def stop(self) -> None:
        self._worker.stop()

    def kill(self) -> None:
        self.ended = True
        self._worker.stop()
        self._worker.stop()
