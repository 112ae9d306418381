"""What callers do with durable work: accept it, talk to it, decide about it, read it. The running of it is the
`Worker`'s.
"""

from __future__ import annotations

import math
from typing import Any, Unpack

from opspawn.contracts.options import TaskOptions
from opspawn.contracts.store import Task
from opspawn.ops.engine.approvals import Approving
from opspawn.ops.engine.dead import Dead
from opspawn.ops.engine.doubts import Doubts
from opspawn.ops.engine.reading import Reading
from opspawn.ops.engine.signals import Signalling


class Engine(Dead, Doubts, Signalling, Approving, Reading):
    """Durable work on a store. `accepts` checks handler and input before anything is recorded."""

    async def enqueue(self, handler: str, input: Any = None, **options: Unpack[TaskOptions]) -> Task:
        """Accept a task durably and return it at once: `submit` under the name of a queue. Raises: as `submit`."""
        return await self.submit(handler, input, **options)

    async def dispatch(
        self, handler: str, input: Any = None, *, wait_s: float = math.inf, **options: Unpack[TaskOptions]
    ) -> Task:
        """Accept a task durably, and return it once it has settled, or as it stands after `wait_s` seconds.

        A caller that goes away cancels nothing: the task goes on, and the same `idempotency_key` finds it again.

        Raises: as `submit`.
        """
        task = await self.submit(handler, input, **options)
        return await self.wait(task.id, wait_s, accepted=task) if wait_s > 0 else task
