"""The in-process waker: rings reach the waiters of this process, whatever event loop they wait in."""

from __future__ import annotations

import asyncio
import threading


class LocalWaker:
    """Wakes workers of the same process. Others notice new work by their own timer.

    A ring that finds nobody waiting is kept for the next waiter of that queue, so that work that came while a worker
    was busy looking is not slept over. One ring wakes every waiter of the queue: whoever finds nothing waits again.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rung: set[str] = set()
        self._waiting: dict[asyncio.Future[None], tuple[str, ...]] = {}
        self._closed = False

    def ring(self, queue: str) -> None:
        """Say that there may be work in `queue`; from any thread."""
        with self._guard:
            waiters = [future for future, queues in self._waiting.items() if queue in queues]
            if not waiters:
                self._rung.add(queue)
            for future in waiters:
                del self._waiting[future]
        _wake(waiters)

    async def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """Return when a queue was rung since the last wait, when all is closed, or after `timeout_s` seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._guard:
            if self._closed or not self._rung.isdisjoint(queues):
                self._rung.difference_update(queues)
                return
            self._waiting[future] = queues
        try:
            await asyncio.wait((future,), timeout=timeout_s)
        finally:
            with self._guard:
                self._waiting.pop(future, None)

    async def aclose(self) -> None:
        """Wake all waiters. Idempotent."""
        with self._guard:
            self._closed = True
            waiters = list(self._waiting)
            self._waiting.clear()
        _wake(waiters)


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for future in waiters:
        try:
            future.get_loop().call_soon_threadsafe(_settle, future)
        except RuntimeError:
            continue  # that loop was closed: nobody waits there any more


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
