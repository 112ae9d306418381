"""Following the journal live: one task per store, alive only while somebody tails.

It blocks on the stream of events, or, while all followers want some types only, on the streams of these types. Deltas
of this process go to its followers after the events that were committed before them; those of other processes come by
pub/sub, and are published only while somebody listens.
"""

from __future__ import annotations

import asyncio
import json
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any

from loguru import logger

from opspawn import details
from opspawn.contracts.events import Event, TaskDelta
from opspawn.errors import StoreError
from opspawn.logs import traceback_text
from opspawn.stores.followers import KEPT, Follower, Read, wanted_types
from opspawn_store_redis import connections, decoding
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.ending import end
from opspawn_store_redis.reading import FREQUENT
from opspawn_store_redis.telling import Telling

_BLOCK_S = 2.0
_PAGE = 500
_ENTRIES = 100  # each of up to sixteen events
_PAUSE_S = 0.2

EventsAfter = Callable[[int, int, Set[str]], Awaitable[tuple[list[Event], int]]]


class Tail(Follower):
    """What `tail` returns; `begin` tells where, once the server has said so."""

    def __init__(self, hub: Following, read: Read, begin: asyncio.Future[int] | int, types: Set[str]) -> None:
        super().__init__(hub, read, begin if isinstance(begin, int) else 0, types)
        self._begin = None if isinstance(begin, int) else begin

    async def __anext__(self) -> Event | TaskDelta:
        self._start()
        if self._begin is not None:
            begin, self._begin = self._begin, None
            try:
                self._position = await asyncio.shield(begin)
            except StoreError:
                if not self._ended:
                    raise
            except asyncio.CancelledError:
                self._begin = begin
                raise
        return await super().__anext__()


class Following:
    """Offers commits and deltas to all followers."""

    def __init__(self, calls: Calls, events_after: EventsAfter, deltas_from: Callable[[], None]) -> None:
        self._calls = calls
        self._events_after = events_after
        self._listen = deltas_from
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()  # whoever just forgets its follower leaves, too
        self._guard = threading.Lock()
        self._waiting: deque[tuple[int, Sequence[TaskDelta]]] = deque(maxlen=KEPT)  # deltas, and the position before
        self._reached = 0
        self._changed = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    def join(self, follower: Follower) -> bool:
        """Offer to this follower from now on; False when the store is closed. From any loop."""
        with self._guard:
            if self._closed:
                return False
            self._followers.add(follower)
        self._calls.home.call_soon_threadsafe(self._start)
        return True

    def leave(self, follower: Follower) -> None:
        """Offer nothing more to this follower."""
        with self._guard:
            self._followers.discard(follower)

    @property
    def wanted(self) -> Set[str] | None:
        """The types that somebody wants: empty for all, or for one that has no stream of its own; None for nothing."""
        with self._guard:
            wanted = wanted_types(list(self._followers))
        return frozenset() if wanted and not FREQUENT.isdisjoint(wanted) else wanted

    def offer(self, before: int, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas that were published after the event at `before`, in the home loop."""
        if self.wanted:
            return
        deltas = [replace(delta, after=before) for delta in deltas]
        if self._reached >= before and not self._waiting:
            self._post(deltas)
        elif self._work is not None:
            self._waiting.append((before, deltas))

    def _start(self) -> None:
        if self._closed:
            return
        self._changed.set()
        if self._work is None:
            self._work = asyncio.create_task(self._run(), name="opspawn-redis-tail")

    async def _run(self) -> None:
        client = connections.async_client(self._calls.config, socket_timeout=_BLOCK_S + self._calls.config.timeout_s)
        client.response_callbacks.pop("XREAD", None)  # as it comes, whatever redis-py would make of it
        try:
            self._reached = 0
            while (wanted := self.wanted) is not None:
                try:
                    if self._reached == 0:
                        self._reached = (await self._calls.read("read", "state"))[1]
                        self._miss()
                        self._offer([])
                    await self._look(client, wanted)
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    if not isinstance(error, StoreError) and not connections.is_passing(error):
                        logger.bind(error_type="store", exception=traceback_text(error)).warning(
                            "Events could not be followed for a moment: {}", error
                        )
                    await client.connection_pool.disconnect(inuse_connections=False)
                    await asyncio.sleep(_PAUSE_S)
                    self._miss()
        finally:
            self._waiting.clear()
            self._work = None
            with suppress(Exception):
                await client.aclose()

    async def _look(self, client: Any, wanted: Set[str]) -> None:
        if not wanted:
            self._listen()
        streams = [f"{self._calls.prefix}{name}" for name in ([f"e:type:{type}" for type in sorted(wanted)] or ["ev"])]
        places = [f"{self._reached}-0"] * len(streams)
        where = ("STREAMS", *streams, *places)
        wait = ("XREAD", "COUNT", 1 if wanted else _ENTRIES, "BLOCK", int(_BLOCK_S * 1000), *where)
        raw = await self._unless_changed(client.execute_command(*wait))
        if not raw:
            return
        if wanted:  # guard: before Redis 7.2 who was blocked is told of one stream alone
            raw = await client.execute_command("XREAD", "COUNT", _ENTRIES, *where)
            if not raw:  # they were removed in between
                return
        full = any(len(found) == _ENTRIES for _, found in raw) and bool(wanted)  # and others may have what comes later
        events = None if full else decoding.new_events([entry for _, found in raw for entry in found], self._reached)
        if events is None:
            events, self._reached = await self._events_after(self._reached, _PAGE, wanted)
        else:
            self._reached = max(decoding.position(found[-1][0]) for _, found in raw)
        self._offer(events)

    async def _unless_changed(self, read: Awaitable[Any]) -> Any:
        """The reply, or None as soon as somebody else joins, who may want other events."""
        self._changed.clear()
        reading = asyncio.ensure_future(read)
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({reading, changing}, return_when=asyncio.FIRST_COMPLETED)
            return reading.result() if reading.done() else None
        finally:
            await end((reading, changing))

    def _offer(self, events: Sequence[Event]) -> None:
        """Offer events, and the deltas that wait between them."""
        items: list[Event | TaskDelta] = []
        rest = deque(events)
        while self._waiting and self._waiting[0][0] <= self._reached:
            before, deltas = self._waiting.popleft()
            while rest and rest[0].position <= before:
                items.append(rest.popleft())
            items.extend(deltas)
        items.extend(rest)
        self._post(items)

    def _post(self, items: Sequence[Event | TaskDelta]) -> None:
        with self._guard:
            followers = list(self._followers)
        for follower in followers if items else ():
            follower.post(items)

    def _miss(self) -> None:
        with self._guard:
            followers = list(self._followers)
        for follower in followers:
            follower.miss()

    async def aclose(self) -> None:
        """End all followers. Idempotent."""
        with self._guard:
            self._closed = True
            followers = list(self._followers)
            self._followers.clear()
        for follower in followers:
            follower.end()
        await end((self._work,))


class Deltas:
    """Deltas to and from other processes, by pub/sub: best effort, dropped where nobody listens or all is slow."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._channel = f"{calls.prefix}deltas"
        self._own = calls.prefix + hex(id(self))
        self._waiting: deque[TaskDelta] = deque(maxlen=KEPT)
        self._quiet_until = 0.0
        self._sending: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None
        deaf = "Answers of other processes are not shown word by word."
        self._telling = Telling(deaf, calls.config, error_type="store")
        self.heard: Callable[[int, Sequence[TaskDelta]], None] = lambda before, deltas: None

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Send deltas, in the home loop; never fails."""
        if self._calls.closed or self._calls.home.time() < self._quiet_until:
            return
        self._waiting.extend(deltas)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="opspawn-redis-deltas")

    async def _send(self) -> None:
        try:
            while self._waiting:
                deltas = [(delta.task, delta.data) for delta in self._waiting]
                self._waiting.clear()
                text = json.dumps([self._own, self._calls.watermark.pos, deltas])
                listeners = await self._calls.command("PUBLISH", self._channel, text)
                if listeners == 0:
                    self._quiet_until = self._calls.home.time() + 1.0
                    self._waiting.clear()
                await asyncio.sleep(0.02)
        except (StoreError, TypeError, ValueError) as error:  # the journal has the whole answer
            self._quiet_until = self._calls.home.time() + 1.0
            details.debug("Deltas were not published: {}", error, error_type="store")
        finally:
            self._sending = None

    def listen(self) -> None:
        """Hear what others publish, from now on."""
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._hear(), name="opspawn-redis-hearing")

    async def _hear(self) -> None:
        client = connections.async_client(self._calls.config, socket_timeout=None)
        try:
            while True:
                try:
                    async with client.pubsub() as pubsub:
                        await pubsub.subscribe(self._channel)
                        async for message in pubsub.listen():
                            self._telling.worked()
                            if message["type"] == "message":
                                self._take(message["data"])
                except Exception as error:  # the journal has the whole answer
                    passing = connections.is_passing(error)  # others tell of a server that is away
                    await asyncio.sleep(_PAUSE_S if passing else self._telling.failed(error))
        finally:
            with suppress(Exception):
                await client.aclose()

    def _take(self, data: bytes) -> None:
        own, before, deltas = json.loads(data)
        if own != self._own:
            self.heard(before, [TaskDelta(task, data) for task, data in deltas])

    async def aclose(self) -> None:
        """Stop. Idempotent."""
        await end((self._sending, self._hearing))
