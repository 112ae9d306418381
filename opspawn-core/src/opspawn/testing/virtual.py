"""Virtual time: an hour passes as soon as nothing is left to do in it.

`VirtualLoop` is an event loop like any other, whose time stands still while a callback is ready or work is under way in
a thread, and jumps to the next timer when nothing is. So what happens happens in the order of real time, and waiting
costs nothing. Sockets are not waited for: what talks to another process belongs into real time.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import selectors
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, ParamSpec, TypeVar, TypeVarTuple

from opspawn.errors import InvalidInput
from opspawn.ops.workflows.durations import parse_duration

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_SECOND: Final = 1_000_000
_TURNS_PER_LOOK = 16
#: So many turns without a moment passing are taken for a circle.
_PATIENCE = 200_000


class VirtualClock:
    """A clock that its event loop moves. Everything that is to live in its time gets it, and runs in `new_loop()`.

    Args:
        start: when it begins; aware. By default the first of January 2026, UTC.
    """

    virtual: Final = True

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = round(start.timestamp() * _SECOND)
        self._passed = 0  # whole microseconds, as stores count, so that nothing is due a rounding too late

    def time(self) -> float:
        """Seconds since 1970."""
        return (self._start + self._passed) / _SECOND

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._passed / _SECOND

    def now(self) -> datetime:
        """The time, aware UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def new_loop(self, shuffle: random.Random | None = None) -> VirtualLoop:
        """An event loop in this time: for `asyncio.Runner(loop_factory=clock.new_loop)`."""
        return VirtualLoop(self, shuffle)

    async def advance(self, duration: str | float | timedelta) -> None:
        """Let time pass, e.g. "3d", "1h30m" or seconds; return when all that could happen until then has happened.

        Raises: InvalidInput: it is no duration, or the loop that runs is not of this clock.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop) or loop.clock is not self:
            raise InvalidInput(
                "This event loop runs in real time.",
                remedy="Put @virtual_time above the test, or use clock.new_loop().",
            )
        await asyncio.sleep(seconds(duration))
        await loop.idle()

    def _pass(self, passed_s: float) -> None:
        self._passed += max(1, round(passed_s * _SECOND))


class VirtualLoop(asyncio.SelectorEventLoop):
    """Made by `VirtualClock.new_loop`. With `shuffle`, callbacks that are ready run in an order of its choice."""

    _ready: deque[Any]  # asyncio's own, for the shuffle

    def __init__(self, clock: VirtualClock, shuffle: random.Random | None = None) -> None:
        self.clock = clock
        self._shuffle = shuffle
        self._outside = self._turns = self._passed_at = 0
        self._idlers: list[asyncio.Future[None]] = []
        super().__init__(_Selector(self))
        self._clock_resolution = 1 / _SECOND

    def time(self) -> float:
        """Seconds, by the virtual clock."""
        return self.clock.monotonic()

    async def idle(self) -> None:
        """Return when nothing is left to do unless time passes."""
        waiter = self.create_future()
        self._idlers.append(waiter)
        await waiter

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Time stands still within: something is under way that the loop cannot see, e.g. in a thread."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run in a thread; time stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 its name
        """Wait for the threads, as long as they need."""
        with self.outside():
            await super().shutdown_default_executor()

    def _came_back(self, _: object) -> None:
        self._outside -= 1

    def turn(self, look: Callable[[float | None], list[Any]], timeout: float | None) -> list[Any]:
        """One look at what is ready, before the callbacks that are run; `timeout` is how long there are none."""
        if self._shuffle is not None and len(self._ready) > 1:
            order = list(self._ready)
            self._shuffle.shuffle(order)
            self._ready = deque(order)
        self._turns += 1
        if self._turns - self._passed_at > _PATIENCE:
            raise RuntimeError(f"{_PATIENCE} turns, and no time has passed: something goes round in circles.")
        if timeout == 0 and self._turns % _TURNS_PER_LOOK:  # what threads bring is ready without a look
            return []
        seen = look(0)
        if seen or timeout == 0:
            return seen
        if self._outside:
            self._passed_at = self._turns
            return look(None)
        if self._idlers:
            idlers, self._idlers = self._idlers, []
            for idler in idlers:
                if not idler.done():
                    idler.set_result(None)
            return seen
        if timeout is None:
            return look(None)
        self._passed_at = self._turns
        self.clock._pass(timeout)
        return seen


class _Selector(selectors.DefaultSelector):
    """Waits for nothing that time could bring."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._loop.turn(super().select, timeout)


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A decorator that runs an async function, such as a test, in a virtual time of its own, and makes it a plain one.

    Fixtures arrive as for any test; those that are asynchronous live in another event loop and cannot be used.
    """
    if not inspect.iscoroutinefunction(test):
        raise InvalidInput(f"{getattr(test, '__name__', test)!r} is not an async function.", remedy="Write async def.")

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with asyncio.Runner(loop_factory=VirtualClock().new_loop) as runner:
            return runner.run(test(*args, **kwargs))

    return run


def running_clock() -> VirtualClock:
    """The clock of the event loop that runs. Raises: InvalidInput: it runs in real time."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise InvalidInput("This event loop runs in real time.", remedy="Put @virtual_time above the test.")
    return loop.clock


async def standing_still(work: Awaitable[T]) -> T:
    """Await what is done outside the event loop, while a virtual time stands still."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        return await work
    with loop.outside():
        return await work


def seconds(duration: str | float | timedelta) -> float:
    """A duration in seconds. Raises: InvalidInput."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, str):
        try:
            return parse_duration(duration)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
    return float(duration)
