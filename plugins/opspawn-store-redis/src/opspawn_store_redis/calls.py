"""Calling functions of the server, from any event loop of the process.

The event loop in which the store was opened has connections of its own; whoever calls from another (a worker's heart,
which must go on while that loop is blocked) goes through a client for threads.

What fails in passing is tried again for a while. That is safe: a function that writes is told who asks and the number
of the call, and answers the last one again instead of applying it twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from opspawn.contracts.clock import Clock
from opspawn.errors import StoreError
from opspawn_store_redis import connections, functions
from opspawn_store_redis.encoding import Argument
from opspawn_store_redis.faults import as_store_error
from opspawn_store_redis.functions import Function
from opspawn_store_redis.settings import RedisConfig
from opspawn_store_redis.watermark import Since, Watermark
from opspawn_store_redis.wire import Wire

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5
_READS_AT_ONCE = 16
_ACK_MS = 100
_LOAD = ("FUNCTION", "LOAD", functions.library())


def _is_missing(error: BaseException | None) -> bool:
    """Whether a server does not know our functions: it is new, or took over without them."""
    return isinstance(error, redis.exceptions.ResponseError) and "Function not found" in str(error)


def _is_there(error: BaseException | None) -> bool:
    """Whether somebody else was faster to load them."""
    return isinstance(error, redis.exceptions.ResponseError) and "already exists" in str(error)


def _looked_at(done: asyncio.Future[Any]) -> None:
    """Nobody may await it any more, and asyncio would complain of an error that nobody asked for."""
    if not done.cancelled():
        done.exception()


class Calls:
    """The server as functions. `clock` replaces the server's, in tests."""

    def __init__(self, config: RedisConfig, clock: Clock | None) -> None:
        self.config = config
        self.prefix = f"osp:{{{config.namespace}}}:"
        self.home = asyncio.get_running_loop()
        self.watermark = Watermark()
        self.suspect: Callable[[], None] = lambda: None  # some of what was seen may be lost
        self.opened = self.closed = self.given_up = False
        self._meta = f"{self.prefix}meta"
        self._master: tuple[str, int] | None = None  # as the Sentinels told last
        self._clock = clock
        once: Any = AsyncRetry(NoBackoff(), 0)
        once_in_thread: Any = Retry(NoBackoff(), 0)
        self._client = connections.async_client(config, retry=once)
        self._thread_client = connections.client(config, retry=once_in_thread)
        self._reads = asyncio.Semaphore(_READS_AT_ONCE)
        self._wire = Wire(self._client, config.timeout_s)
        self._acked = Wire(self._client, config.timeout_s + _ACK_MS / 1000)  # for what waits for replicas

    async def read(self, name: Function, *words: Argument) -> Any:
        """The answer of a function that only reads. Raises: StoreError."""
        if self.closed:
            raise StoreError("The store is closed.")
        if asyncio.get_running_loop() is not self.home:
            return await asyncio.to_thread(self._in_thread, name, words)
        async with self._reads:
            return await self.here(name, words)

    async def write(self, name: Function, words: Sequence[Argument], *, caller: tuple[str, int] | None = None) -> Any:
        """The answer of a function that writes; `caller` is who asks and the number of the call. Raises: StoreError."""
        named = words if caller is None else [*caller, *words]
        if asyncio.get_running_loop() is self.home:
            return self._seen(await self.here(name, named, self.config.ack_replicas))
        if caller is not None:
            named = [uuid4().hex, 1, *words]  # the number of the caller's calls is counted in its own loop
        return self._seen(await asyncio.to_thread(self._in_thread, name, named, self.config.ack_replicas))

    def send(self, name: Function, words: Sequence[Argument], *, caller: tuple[str, int]) -> asyncio.Task[Any]:
        """As `write` in the home loop, but if there is a connection the command goes now, and not in another turn.

        What fails is tried again whether or not it is awaited yet.
        """
        named, acks, since = [*caller, *words], self.config.ack_replicas, self.watermark.since
        wire = self._acked if acks else self._wire
        sent: list[asyncio.Future[Any]] = []
        if wire.connected:
            with suppress(Exception):  # what cannot be sent is told to whoever awaits it
                sent.append(wire.send(self._call(name, named)))
                sent[0].add_done_callback(_looked_at)

        async def answer() -> Any:
            reply = await self._retrying(lambda: self._once(name, named, acks, sent.pop() if sent else None))
            return self._seen((since, reply))

        answering = self.home.create_task(answer(), name="opspawn-redis-call")
        answering.add_done_callback(_looked_at)
        return answering

    def _seen(self, answer: tuple[Since, Any]) -> Any:
        since, reply = answer
        if not self.watermark.rises(since, pos=reply[1], writes=reply[2], era=reply[3]):
            self.suspect()
        return reply

    async def compare(self) -> None:
        """Compare what the store shows now with what was seen of it. Raises: StoreError."""
        since = self.watermark.since
        self._seen((since, await self.read("read", "state")))

    async def ask_era(self, words: Sequence[Argument], *, by: Function = "era") -> Any:
        """The answer of `era`, which tells what is still there of what was seen. Raises: StoreError."""
        if self.closed:
            raise StoreError("The store is closed.")
        if asyncio.get_running_loop() is not self.home:
            return (await asyncio.to_thread(self._in_thread, by, words))[1]
        return (await self.here(by, words))[1]

    async def here(self, name: Function, words: Sequence[Argument], acks: int = 0) -> Any:
        """Call from the loop that opened the store."""
        since = self.watermark.since
        reply = await self._retrying(lambda: self._once(name, words, acks))
        return (since, reply) if name not in functions.READS else reply

    async def _retrying(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        give_up, pause = None, _FIRST_PAUSE_S
        own = asyncio.current_task()
        cancels = 0 if own is None else own.cancelling()
        while True:
            self._refuse_given_up()
            try:
                answer = await ask()
                if own is not None and own.cancelling() > cancels:  # before Python 3.12 `wait_for`, which redis-py
                    raise asyncio.CancelledError  # calls, swallows one that comes together with the answer
                return answer
            except Exception as error:
                give_up, pause = self._may_retry(error, give_up, pause)
                if isinstance(error, redis.exceptions.ResponseError):  # of a server that is no master any more
                    self._wire.drop()
                    self._acked.drop()
            await asyncio.sleep(pause)

    def _call(self, name: Function, words: Sequence[Argument]) -> Sequence[Argument]:
        return ("FCALL", functions.function(name), 1, self._meta, self._now(), *words)

    async def _once(
        self, name: Function, words: Sequence[Argument], acks: int, sent: Awaitable[Any] | None = None
    ) -> Any:
        """Call once; `sent` is the reply to come if the command was sent already."""
        arguments = self._call(name, words)
        wire = self._acked if acks else self._wire
        try:
            reply = await (wire.ask(*arguments) if sent is None else sent)
        except redis.exceptions.ResponseError as error:
            if not _is_missing(error):
                raise
            await self._load()
            reply = await wire.ask(*arguments)
        if acks:  # on the same connection: it is about what that has written
            await wire.ask("WAIT", acks, _ACK_MS)
        return reply

    async def _load(self) -> None:
        try:
            await self._wire.ask(*_LOAD)
        except redis.exceptions.ResponseError as error:
            if not _is_there(error):
                raise

    def _in_thread(self, name: Function, words: Sequence[Argument], acks: int = 0) -> Any:
        since = self.watermark.since
        arguments = self._call(name, words)
        try:
            reply = self._thread_command(arguments)
        except StoreError as error:
            if not _is_missing(error.__cause__):
                raise
            try:
                self._thread_command(_LOAD)
            except StoreError as refused:
                if not _is_there(refused.__cause__):
                    raise
            reply = self._thread_command(arguments)
        if acks:
            self._thread_command(("WAIT", acks, _ACK_MS))
        return (since, reply) if name not in functions.READS else reply

    def _thread_command(self, words: Sequence[Argument]) -> Any:
        give_up, pause = None, _FIRST_PAUSE_S
        while True:
            self._refuse_given_up()
            try:
                return self._thread_client.execute_command(*words)  # type: ignore[no-untyped-call]
            except Exception as error:
                give_up, pause = self._may_retry(error, give_up, pause)
            self._thread_client.connection_pool.disconnect(inuse_connections=False)
            time.sleep(pause)

    def _may_retry(self, error: Exception, give_up: float | None, pause: float) -> tuple[float, float]:
        """When to give up, and how long to pause before. Raises: StoreError: there is no point in trying again."""
        now = time.monotonic()
        give_up = now + self.config.retry_s if give_up is None else give_up
        if not connections.is_passing(error) or now + pause > give_up or self.closed or self.given_up:
            raise as_store_error(error, self.config, writing=self.opened) from error
        return give_up, min(pause * 2, _LONGEST_PAUSE_S)

    def _now(self) -> Argument:
        return "" if self._clock is None else round(self._clock.time() * 1_000_000)

    @property
    def virtual(self) -> bool:
        """Whether the time is not the server's."""
        return self._clock is not None

    async def fetch(self, command: str, key: str, *words: Argument) -> Any:
        """The answer of a command that only reads one key, given without the prefix. Raises: StoreError."""
        return await self._fetch((command, self.prefix + key, *words))

    async def fetch_many(self, command: str, keys: Sequence[str]) -> Any:
        """The answer of a command that only reads these keys, given without the prefix. Raises: StoreError."""
        return await self._fetch((command, *(self.prefix + key for key in keys)))

    async def _fetch(self, whole: Sequence[Argument]) -> Any:
        if self.closed:
            raise StoreError("The store is closed.")
        if asyncio.get_running_loop() is not self.home:
            return await asyncio.to_thread(self._thread_command, whole)
        async with self._reads:
            return await self._retrying(lambda: self._wire.ask(*whole))

    async def command(self, *words: Argument) -> Any:
        """The answer of a plain command, tried once, from the home loop. Raises: StoreError."""
        self._refuse_given_up()
        try:
            return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise as_store_error(error, self.config, writing=False) from error

    async def follow(self) -> None:
        """Let go of a server that the Sentinels call the master no more: one that was cut off goes on taking writes."""
        if not self.config.sentinels:
            return
        pool: Any = self._client.connection_pool
        known = self._master or pool.master_address
        try:
            self._master = await pool.get_master_address()
        except (redis.exceptions.RedisError, OSError):  # as while they look for another
            return
        if known is not None and known != self._master:
            self._wire.drop()
            self._acked.drop()
            self._thread_client.connection_pool.disconnect()

    async def give_up(self) -> None:
        """Let everything that waits for the server fail now, and from now on whatever is asked of it."""
        self.given_up = True
        self._wire.give_up()
        self._acked.give_up()
        self._thread_client.connection_pool.disconnect()
        await self._client.connection_pool.disconnect()

    def _refuse_given_up(self) -> None:
        if self.given_up:
            server = connections.shown(self.config)
            raise StoreError(f"The server {server} did not answer any more while this process stopped.")

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        self.closed = True
        self._thread_client.close()
        for wire in (self._wire, self._acked):
            await wire.aclose()
        await self._client.aclose()
