"""Hints that there may be work. Losing one costs latency, never work."""

from __future__ import annotations

from typing import Protocol


class Waker(Protocol):
    """Tells workers of a queue to look into the store.

    One that may fail can also have `async def check(self) -> Sequence[Finding]`: what an operator should know of it
    (`opspawn.contracts.store.Finding`), for `opspawn doctor`.
    """

    def ring(self, queue: str) -> None:
        """Say that there may be work in `queue`. Called after the commit; never blocks, never fails."""
        ...

    async def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """Return when one of the queues was rung since the last wait, or after `timeout_s` seconds."""
        ...

    async def aclose(self) -> None:
        """Release what the waker holds. Idempotent."""
        ...
