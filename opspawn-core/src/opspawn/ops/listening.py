"""Feeds listeners with what happens, from the store and at their own pace, never in the way of a run.

Each listener has a thread with an event loop of its own, so that one which blocks costs nobody else anything. A durable
one keeps the position that it has heard in a record, and is fed by one process at a time; it may hear events again that
it heard since the position was last kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from loguru import logger

from opspawn.agentkit.failures import FAULTS, named
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, NewEvent, TaskDelta
from opspawn.contracts.listener import Listener
from opspawn.contracts.store import Append, Batch, EventQuery, Put, Record, Store
from opspawn.errors import Conflict, StoreError
from opspawn.logs import traceback_text
from opspawn.ops.turns import Turn

KIND = "listener"
#: How often the position is kept and the turn renewed; for how long a turn lasts; in seconds.
KEEP_S = 1.0
TURN_S = 30.0
#: After so many failures in a row it is switched off; the pauses between them double up to the longest, in seconds.
FAILURES = 8
PAUSE_S = 0.5
LONGEST_S = 30.0
#: How long an end waits for listeners to hear what has happened until then, in seconds.
GRACE_S = 2.0
_RACES = 5


class Broken(Exception):
    """The listener failed too often."""


class Feed:
    """Feeds one listener.

    Attributes: position: the last event that it has heard; None before the first look. waits: whether another process
    has the turn. ended: whether it hears no more.
    """

    def __init__(
        self, store: Store, name: str, listener: Listener, owner: str, *, clock: Clock = SYSTEM_CLOCK,
        pause_s: float = PAUSE_S,
    ) -> None:  # fmt: skip
        self.name = name
        self.position: int | None = None
        self.durable = bool(getattr(listener, "durable", True))
        self._store = store
        self._listener = listener
        self._on_delta: Callable[[TaskDelta], Awaitable[None]] | None = getattr(listener, "on_delta", None)
        self._turn = Turn(store, f"listener {name}", owner, for_s=TURN_S, clock=clock)
        self._pause_s = pause_s
        self._kept: int | None = None
        self.ended = False
        self.waits = False

    async def run(self) -> None:
        """Feed until cancelled, or until the listener has failed too often."""
        try:
            while True:
                try:
                    await self._feed()
                except StoreError as error:
                    logger.bind(listener=self.name, error_type=error.error_type).warning(
                        "The listener {} cannot be fed for now: {}", self.name, error
                    )
                await asyncio.sleep(self._pause_s)
        except Broken as error:
            await self._switch_off(str(error))
        finally:
            self.ended = True
            with suppress(StoreError):
                await self._keep()
                if self.durable:
                    await self._turn.give_up()
            if (close := getattr(self._listener, "aclose", None)) is not None:
                with suppress(*FAULTS):
                    await close()

    async def introduce(self) -> None:
        """Settle from where on it hears: a new one from now. Raises: StoreError."""
        position = await self._begin()
        if not self.durable:
            self.position = position

    async def _feed(self) -> None:
        """Feed as long as it is our turn. Raises: StoreError. Broken."""
        while self.durable and not await self._turn.take():
            self.waits = True
            await asyncio.sleep(TURN_S / 3)
        self.waits = False
        self.position = self._kept = await self._begin()
        hearing = asyncio.create_task(self._hear(self._store.tail(self.position)))
        keeping = asyncio.create_task(self._keep_on())
        try:
            await asyncio.wait({hearing, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (hearing, keeping):
                one.cancel()
            await asyncio.gather(hearing, keeping, return_exceptions=True)
        for one in (hearing, keeping):
            if not one.cancelled() and (error := one.exception()) is not None:
                raise error

    async def _begin(self) -> int:
        record = await self._store.get(KIND, self.name) if self.durable else None
        if record is not None:
            return int(record.data["position"])
        if self.position is not None:  # it was introduced, or the store failed for a while
            return self.position
        newest = await self._store.events(EventQuery(newest=True, limit=1))
        position = newest[0].position if newest else 0
        if self.durable:
            with suppress(Conflict):
                await self._store.commit(Batch([Put(Record(KIND, self.name, {"position": position}), expect=0)]))
        return position

    async def _hear(self, tail: AsyncIterator[Event | TaskDelta]) -> None:
        async for item in tail:
            if isinstance(item, Event):
                await self._tell(item)
                self.position = item.position
            elif self._on_delta is not None:
                try:
                    await self._on_delta(item)
                except FAULTS as error:  # best effort: the next piece may do better
                    self._log(error, "a piece of a stream")

    async def _tell(self, event: Event) -> None:
        pause = self._pause_s
        for failures in range(1, FAILURES + 1):
            try:
                await self._listener.on_event(event)
                return
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                self._log(error, f"the event {event.position}")
                if failures == FAILURES:
                    raise Broken(named(error)) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_S)

    def _log(self, error: BaseException, what: str) -> None:
        logger.bind(listener=self.name, error_type=type(error).__name__, exception=traceback_text(error)).warning(
            "The listener {} failed at {}", self.name, what
        )

    async def _keep_on(self) -> None:
        """Keep the position; return once it is somebody else's turn."""
        beats = 0
        while True:
            await asyncio.sleep(KEEP_S)
            beats += 1
            await self._keep()
            if self.durable and beats % int(TURN_S / KEEP_S / 3) == 0 and not await self._turn.take():
                return

    async def _keep(self) -> None:
        position = self.position  # it may hear more while this one is kept
        if not self.durable or position is None or position == self._kept:
            return
        for _ in range(_RACES):  # a commit of ours that was cancelled may still be on its way
            known = await self._store.get(KIND, self.name)
            if known is not None and known.data["position"] >= position:
                self._kept = position
                return
            record = Record(KIND, self.name, {"position": position})
            with suppress(Conflict):
                await self._store.commit(Batch([Put(record, expect=0 if known is None else known.version)]))
                self._kept = position
                return

    async def _switch_off(self, why: str) -> None:
        logger.bind(listener=self.name, error_type="listener").error(
            "The listener {} is switched off until the next start: {}", self.name, why
        )
        data = {"listener": self.name, "position": self.position, "error": {"type": "listener", "message": why}}
        event = NewEvent("listener.disabled", data, level="warning", error_type="listener")
        with suppress(StoreError):
            await self._store.commit(Batch([Append(None, event)]))


class Listeners:
    """All listeners of a process, each in a thread of its own; in virtual time in the loop that starts them."""

    def __init__(self, named: Mapping[str, Listener]) -> None:
        self._named = dict(named)
        self._store: Store | None = None
        self._feeds: list[tuple[Feed, Any]] = []

    async def start(self, store: Store, owner: str, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin to feed; return once it is settled that they hear of what happens from now on. Raises: StoreError."""
        self._store = store
        for name, listener in self._named.items():
            feed = Feed(store, name, listener, owner, clock=clock)
            await feed.introduce()
            self._feeds.append((feed, asyncio.create_task(feed.run()) if clock.virtual else _Thread(feed)))

    async def aclose(self) -> None:
        """Let them hear what has happened until now, for a moment, and end."""
        if self._store is None or not self._feeds:
            return
        with suppress(StoreError, TimeoutError):
            newest = await self._store.events(EventQuery(newest=True, limit=1))
            async with asyncio.timeout(GRACE_S):
                while any(not _is_at(feed, newest) for feed, _ in self._feeds):  # noqa: ASYNC110 in other threads
                    await asyncio.sleep(0.01)
        for _, runner in self._feeds:
            runner.cancel()
        for _, runner in self._feeds:
            await (runner.join() if isinstance(runner, _Thread) else asyncio.gather(runner, return_exceptions=True))
        self._feeds.clear()


def _is_at(feed: Feed, newest: list[Event]) -> bool:
    """Whether a feed has nothing left to hear; one that waits for its turn has nothing at all."""
    return feed.ended or feed.waits or not newest or (feed.position or 0) >= newest[0].position


class _Thread:
    """Runs a feed in a thread with a loop of its own."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"opspawn-listener-{feed.name}", daemon=True)
        self._thread.start()

    def _main(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._feed.run())
            self._ready.set()
            with suppress(asyncio.CancelledError):
                await self._task

        try:
            asyncio.run(main())
        except BaseException as error:
            logger.bind(listener=self._feed.name, exception=traceback_text(error)).error(
                "The listener {} ended in an unforeseen way", self._feed.name
            )

    def cancel(self) -> None:
        """Ask it to end."""
        self._ready.wait(GRACE_S)
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def join(self) -> None:
        """Return once it has ended, or after a moment: one that hangs is left behind."""
        await asyncio.to_thread(self._thread.join, GRACE_S)
