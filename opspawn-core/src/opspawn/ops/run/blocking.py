"""Tells when the code of a task blocks the event loop of its worker, so that all others wait: which task, and where.

Leases are kept meanwhile (see `heart`), and nothing is lost; but a model call that comes back is not heard, a cancel
does not arrive, and a drain cannot end. A thread asks the loop for a sign of life now and then.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from types import FrameType

from loguru import logger

from opspawn import details
from opspawn.agentkit.context import Context
from opspawn.contracts.clock import Clock
from opspawn.contracts.events import NewEvent
from opspawn.contracts.store import Append, Batch, Store
from opspawn.errors import StoreError

#: How often the loop is asked, in seconds.
_ASK_S = 1.0
#: How much of the stack is told: the innermost frames.
_FRAMES = 12


class LoopWatch:
    """Watches the event loop that starts it. `bound_s` is how long, in seconds, it may not answer."""

    def __init__(self, store: Store, bound_s: float, clock: Clock) -> None:
        self._store = store
        self._bound_s = bound_s
        self._clock = clock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin. In virtual time nothing is watched: there nobody waits."""
        if self._clock.virtual:
            return
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        self._thread = threading.Thread(target=self._watch, args=arguments, name="opspawn-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, at once or with the loop's next sign of life."""
        self._stop.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._stop.wait(min(_ASK_S, self._bound_s)):
            alive = threading.Event()
            began = self._clock.monotonic()
            try:
                loop.call_soon_threadsafe(alive.set)
            except RuntimeError:  # the loop is closed
                return
            if alive.wait(self._bound_s) or self._stop.is_set():
                continue
            frame = sys._current_frames().get(thread)
            if frame is not None:
                self._tell(_task_of(frame), traceback.format_stack(frame)[-_FRAMES:])
            while not alive.wait(_ASK_S):
                if self._stop.is_set() or loop.is_closed():
                    return
            logger.warning("The event loop goes on after {:.1f} s", self._clock.monotonic() - began)

    def _tell(self, task: str | None, stack: list[str]) -> None:
        where = stack[-1].strip().replace("\n", " ") if stack else "an unknown place"
        logger.bind(task=task, error_type="blocked", exception="".join(stack)).warning(
            "The event loop is blocked for {:g} s already, by {}: {}",
            self._bound_s,
            task or "no task that is known",
            where,
        )
        if task is None:
            return
        data = {"seconds": self._bound_s, "where": where, "stack": "".join(stack)}
        event = NewEvent("task.blocking", data, level="warning", error_type="blocked")
        try:
            asyncio.run(self._store.commit(Batch([Append(task, event)])))
        except StoreError as error:
            details.debug("That could not be recorded: {}", error, task=task, error_type=error.error_type)


def _task_of(frame: FrameType | None) -> str | None:
    """The task whose run is on the stack."""
    while frame is not None:
        context = frame.f_locals.get("self")
        if isinstance(context, Context):
            return context.task
        context = frame.f_locals.get("context")
        if isinstance(context, Context):
            return context.task
        frame = frame.f_back
    return None
