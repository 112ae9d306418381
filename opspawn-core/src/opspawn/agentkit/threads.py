"""Threads for plain functions, which nothing can stop.

`asyncio.to_thread` shares a few threads among everything in the process, and waits for all of them at exit: a handful
of calls that hang would stop every other one, and then the process from ending. These threads belong to one tool, or
to the plain steps of all runs. One whose caller gave up is *leaked*: it counts for nothing, runs to its end, if it has
one, and does not hold up the exit.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from loguru import logger

from opspawn.agentkit.slots import Slots

#: How many calls of one plain tool, and how many plain steps, are at work at a time, unless a tool says otherwise.
MOST_THREADS = 32
#: How long a thread without work stays, in seconds.
IDLE_S = 5.0


class _Job:
    def __init__(self, call: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.call = call
        self.future = future
        self.leaked = False
        self.ended = False


class Threads:
    """Runs functions in threads, as many as there are calls. Thread-safe; usable from several event loops."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Job]] = []
        self._leaked = 0

    @property
    def leaked(self) -> int:
        """How many threads still run a function whose caller gave up."""
        return self._leaked

    async def run(self, fn: Callable[..., Any], keywords: Mapping[str, Any]) -> Any:
        """Return what the function returns. Cancelled, the caller goes on at once, and the thread is leaked."""
        context = contextvars.copy_context()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        job = _Job(lambda: context.run(fn, **keywords), future)
        self._start(job)
        try:
            return await future
        except asyncio.CancelledError:
            self._leak(job)
            raise

    def _start(self, job: _Job) -> None:
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
                return
        own: SimpleQueue[_Job] = SimpleQueue()
        own.put(job)
        threading.Thread(target=self._work, args=(own,), name=self._name, daemon=True).start()

    def _leak(self, job: _Job) -> None:
        with self._lock:
            if job.ended:
                return
            job.leaked = True
            self._leaked += 1
            count = self._leaked
        logger.bind(leaked=count, error_type="timeout").warning(
            "A thread of {} cannot be stopped and is left to itself; {} such now.", self._name, count
        )

    def _work(self, own: SimpleQueue[_Job]) -> None:
        while True:
            try:
                job = own.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if own not in self._idle:  # somebody just gave it a job
                        continue
                    self._idle.remove(own)
                return
            value, error = None, None
            try:
                value = job.call()
            except BaseException as raised:
                error = raised
            with self._lock:
                job.ended = True
                self._leaked -= job.leaked
                self._idle.append(own)
            _answer(job.future, value, error)
            del job, value, error  # an idle thread keeps nothing alive


class PlainCalls:
    """Threads for functions that belong to nobody, at most `MOST_THREADS` at a time in each event loop."""

    def __init__(self, name: str) -> None:
        self._threads = Threads(name)
        self._slots = Slots(MOST_THREADS)

    async def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns, or what the awaitable gives that it returns. See `Threads.run`."""
        async with self._slots.here():
            value = await self._threads.run(partial(fn, *args), {})
        return await value if isinstance(value, Awaitable) else value


#: The plain steps of all runs, and the plain checks of steps in doubt.
STEPS = PlainCalls("steps")


def _answer(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    def answer() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration):  # a future cannot hold one
            future.set_exception(RuntimeError(f"StopIteration: {error}"))
        else:
            future.set_exception(error)

    try:
        future.get_loop().call_soon_threadsafe(answer)
    except RuntimeError:  # the loop has ended meanwhile, and nobody waits
        return
