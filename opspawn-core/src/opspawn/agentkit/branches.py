"""Which branches of a run are at work and which only wait: how a durable run knows that it may park.

A run starts as one branch; `gather` replaces the branch that called it by one per coroutine until they have ended. A
branch is *waiting* while it awaits a child, a timer or another branch. The run is *idle* when every branch waits, no
step is in flight, and at least one wait is for something outside the process. Raw asyncio tasks that act through the
context are not counted as branches, but their steps are, so parking never cuts off a step.

Idleness is told a few turns of the event loop late: a branch that was just released by another one must get its turn
first. Telling it too early would only cost a needless park, because a parked run loses nothing; but whoever parks the
run looks at `idle` again, in the same turn in which it closes the run, since a child may have ended in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opspawn.agentkit.children import Children

_TURNS = 4
#: How long code that is being unwound waits for the refusal of an act, in seconds: a loop that swallows it must not
#: spin.
_CLOSED_PAUSE_S = 0.05


class Branches:
    """The tally of one run, and the block of a step: `with branches:` says that one is in flight within.

    `on_idle` is called, in the event loop, whenever the run has become idle.
    `draining` says that no step may begin: `gate` holds whoever asks.
    """

    __slots__ = (
        "_checking",
        "_children",
        "_forever",
        "_live",
        "_outside",
        "_rates",
        "_steps",
        "_untils",
        "_waiting",
        "_whats",
        "closed",
        "draining",
        "on_idle",
    )

    def __init__(self, on_idle: Callable[[], None] | None = None) -> None:
        self.on_idle = on_idle
        self.closed = False
        self._live = 1
        self._waiting = 0
        self._outside = 0
        self._steps = 0
        self._untils: list[float] = []
        self._children: list[Children] = []
        self.draining = False
        self._whats: list[str] = []
        self._rates: list[str] = []
        self._forever: asyncio.Future[None] | None = None
        self._checking = False

    @property
    def idle(self) -> bool:
        """Whether every branch waits, one at least for something outside the process, and no step is in flight."""
        return self._outside > 0 and self._steps == 0 and self._waiting >= self._live

    @property
    def soonest(self) -> float | None:
        """When the first timer that a branch waits for ends, in epoch seconds; None without timers."""
        return min(self._untils, default=None)

    @property
    def only_timers(self) -> bool:
        """Whether every wait for something outside is for a timer."""
        return self._outside == len(self._untils)

    @property
    def what(self) -> str:
        """What the branches wait for, in words."""
        named = dict.fromkeys([*self._whats, *(f"rate {key}" for key in self._rates)])
        return ", ".join(named) if named else "time" if self.only_timers else "children"

    @property
    def needs(self) -> int:
        """How many children must end before any branch can go on without a timer; at least 1."""
        return 1 if self._whats else max(1, min((children.left for children in self._children), default=1))

    def __enter__(self) -> None:
        self._steps += 1

    def __exit__(self, *_: object) -> None:
        self._steps -= 1
        if self._waiting:
            self._look()

    @contextmanager
    def waiting(
        self,
        *,
        outside: bool,
        until: float | None = None,
        what: str | None = None,
        rate: str | None = None,
        children: Children | None = None,
    ) -> Iterator[None]:
        """The branch waits within: `outside` for children, timers (that end at `until`, as a `rate` does) and what has
        a name, else for another branch."""
        self._waiting += 1
        self._outside += outside
        if until is not None:
            self._untils.append(until)
        if what is not None:
            self._whats.append(what)
        if rate is not None:
            self._rates.append(rate)
        if children is not None:
            self._children.append(children)
        self._look()
        try:
            yield
        finally:
            self._waiting -= 1
            self._outside -= outside
            if until is not None:
                self._untils.remove(until)
            if what is not None:
                self._whats.remove(what)
            if rate is not None:
                self._rates.remove(rate)
            if children is not None:
                self._children.remove(children)

    def fork(self, count: int) -> None:
        """The calling branch becomes `count` branches."""
        self._live += count - 1

    def ended(self) -> None:
        """One branch of several is done; the last one hands its place back to the caller of `gather` and is not
        reported.
        """
        self._live -= 1
        self._look()

    def drain(self) -> None:
        """From now on no step begins: `gate` holds every branch, so that the run soon is idle and can be given back."""
        self.draining = True
        self._look()

    async def gate(self) -> None:
        """Pass, or stand still for good while draining."""
        if self.draining and not self.closed:
            await self._stand_still()

    async def halt(self) -> None:
        """Drain, and stand still for good; return, after a moment, only if `closed`: the code is being unwound."""
        if self.closed:
            await asyncio.sleep(_CLOSED_PAUSE_S)
        else:
            self.drain()
            await self._stand_still()

    async def _stand_still(self) -> None:
        if self._forever is None:
            self._forever = asyncio.get_running_loop().create_future()
        with self.waiting(outside=True):
            await asyncio.shield(self._forever)

    def _look(self) -> None:
        if self.on_idle is not None and not self._checking and self.idle:
            self._checking = True
            asyncio.get_running_loop().call_soon(self._settle, _TURNS)

    def _settle(self, turns: int) -> None:
        if not self.idle:
            self._checking = False
        elif turns:
            asyncio.get_running_loop().call_soon(self._settle, turns - 1)
        else:
            self._checking = False
            if self.on_idle is not None:
                self.on_idle()
