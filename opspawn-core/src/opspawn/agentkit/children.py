"""Children as the code of a run sees them: `ctx.spawn` gives a `Spawn`; a call that waits for some has `Children`."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple

from opspawn.agentkit.recorded import Asked, Recorded
from opspawn.contracts.budget import Budget
from opspawn.contracts.run import Retry


class SpawnOptions(NamedTuple):
    """How a child is to be run; `retry` is None for the defaults of the handler, `budget` for no limits."""

    key: str | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    fallback: str | None = None
    budget: Budget | None = None


class ChildAsked(NamedTuple):
    """A child that is wanted; `input` is plain JSON."""

    asked: Asked
    handler: str
    input: Any
    options: SpawnOptions


class Spawn(Coroutine[Any, Any, Any]):
    """What `ctx.spawn` returns: await it for the child's result, or give several to `ctx.gather`, which makes them and
    waits for them together. A coroutine in every respect: the child is made when it is awaited.
    """

    __slots__ = ("_begin", "_body", "_over", "handler", "input", "options", "run")

    def __init__(
        self,
        run: object,
        begin: Callable[[Spawn], Coroutine[Any, Any, Any]],
        handler: str,
        input: Any,
        options: SpawnOptions,
    ) -> None:
        self.run = run
        self.handler = handler
        self.input = input
        self.options = options
        self._begin = begin
        self._body: Coroutine[Any, Any, Any] | None = None
        self._over = False

    @property
    def fresh(self) -> bool:
        """Whether nobody has awaited or closed it."""
        return self._body is None and not self._over

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._started().__await__()

    def send(self, value: Any) -> Any:
        return self._started().send(value)

    def throw(self, *error: Any) -> Any:
        return self._started().throw(*error)

    def close(self) -> None:
        """End it; a child that was not made yet is never made."""
        self._over = True
        if self._body is not None:
            self._body.close()

    def _started(self) -> Coroutine[Any, Any, Any]:
        if self._body is None:
            if self._over:
                raise RuntimeError("cannot reuse already awaited coroutine")
            self._body = self._begin(self)
        return self._body

    def __del__(self) -> None:
        if self.fresh:
            warnings.warn(f"ctx.spawn({self.handler!r}) was never awaited", RuntimeWarning, stacklevel=2)


class Children:
    """The children that one call waits for, in its order.

    Attributes:
        ends: how they ended; None for those that have not.
        left: how many have not ended.
        failed: which of them failed first; the call waits for no other then.
    """

    __slots__ = ("_told", "ends", "failed", "left")

    def __init__(self, count: int) -> None:
        self.ends: list[Recorded | None] = [None] * count
        self.left = count
        self.failed: int | None = None
        self._told: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        """Whether the call can go on."""
        return self.left == 0 or self.failed is not None

    def ended(self, index: int, end: Recorded) -> bool:
        """Note how one ended; True when that lets the call go on."""
        if self.ends[index] is None:
            self.ends[index] = end
            self.left -= 1
            if not end.ok and self.failed is None:
                self.failed = index
        if not self.over or self._told is None or self._told.done():
            return False
        self._told.set_result(None)
        return True

    async def wait(self) -> None:
        """Return once the call can go on."""
        if not self.over:
            self._told = asyncio.get_running_loop().create_future()
            await self._told
