"""Work noticed in time without looking every second, which virtual time would have to live through."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from opspawn.contracts.store import Batch, Claim, Lease, Put, Receipt, Store, Task

#: How often to look where everything rings that becomes due.
POLL_S = 3600.0


class Punctual:
    """A store that rings whenever something in it becomes due."""

    def __init__(self, store: Store, ring: Callable[[str], None]) -> None:
        self._store = store
        self._ring = ring
        self.name = store.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Receipt:
        receipt = await self._store.commit(batch)
        for operation in batch.operations:
            if isinstance(operation, Put) and isinstance(operation.record, Task) and operation.due_in_s:
                self._later(operation.due_in_s, operation.record.queue)
        return receipt

    async def claim(self, claim: Claim) -> list[Lease]:
        leases = await self._store.claim(claim)
        for lease in leases:
            self._later(claim.lease_s, lease.task.queue)
        return leases

    def _later(self, due_in_s: float, queue: str) -> None:
        asyncio.get_running_loop().call_later(due_in_s, self._ring, queue)
