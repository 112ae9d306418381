"""A connection of the event loop, spoken to directly: redis-py connects, and from then on replies go from the socket to
whoever waits for them.

Its own way of asking takes a lock, a stream, a time-out by a task and several turns of the event loop for each command,
which is more than half of what a small one costs. Commands are sent one after the other without waiting, and answered
in their order; a caller that is cancelled does not take the connection with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import hiredis
import redis
import redis.asyncio

_GIVEN_UP = "The connection was given up."


class Wire(asyncio.Protocol):
    """One connection of `client`'s pool, made when it is first needed and again after it broke.

    A reply takes at most `timeout_s` seconds. `pushed` gets what comes when nothing was asked; `lost` is set when there
    is no connection any more. To be used in one event loop.
    """

    def __init__(
        self, client: redis.asyncio.Redis, timeout_s: float, pushed: Callable[[Any], None] = lambda reply: None
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._pushed = pushed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._writer: Any = None  # held, since it closes the transport when it is no more
        self._former: asyncio.BaseProtocol | None = None
        self._connecting: asyncio.Future[None] | None = None
        self._reader = hiredis.Reader(replyError=_error)
        self._clock: asyncio.TimerHandle | None = None
        self._closed = False
        self.lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and not one whose end is told to us a moment later."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, *words: Any) -> Any:
        """The reply to a command. Raises: redis.exceptions.RedisError; OSError."""
        if not self.connected:
            await self._connect()
        return await self.send(words)

    def send(self, words: Sequence[Any]) -> asyncio.Future[Any]:
        """What the reply will be to a command that is sent now, over the connection that is there.

        Raises: UnicodeError; TypeError: a word that cannot be sent; nothing was.
        """
        assert self._transport is not None
        command = hiredis.pack_command(tuple(words))  # guard: first, or if it fails replies go to the wrong callers
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((reply, self._loop.time() + self._timeout_s))
        if self._clock is None:
            self._clock = self._loop.call_later(self._timeout_s, self._late)
        self._transport.write(command)
        return reply

    async def _connect(self) -> None:
        """Connect, once for all who wait for it."""
        if self._closed:  # or a connection would be made that nobody closes
            raise redis.exceptions.ConnectionError(_GIVEN_UP)
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._take_over())
            self._connecting.add_done_callback(self._connected)
        connecting = self._connecting
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            own = asyncio.current_task()
            if not connecting.cancelled() or (own is not None and own.cancelling()):
                raise
            raise redis.exceptions.ConnectionError(_GIVEN_UP) from None
        if self._transport is None:
            raise redis.exceptions.ConnectionError("Connection closed by server.")

    def _connected(self, done: asyncio.Future[None]) -> None:
        self._connecting = None
        if not done.cancelled():
            done.exception()  # whoever waits gets it, or is gone

    async def _take_over(self) -> None:
        if self._former is not None:  # the end of the connection before this one is not told yet
            await self.lost.wait()
        connection: Any = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            self._writer = connection._writer
            transport = self._writer.transport
        except BaseException:
            with suppress(Exception):
                await connection.disconnect(nowait=True)
            raise
        self._reader = hiredis.Reader(replyError=_error)
        self._former = transport.get_protocol()
        transport.set_protocol(self)
        connection._reader = connection._writer = None  # its end is told to us
        self._transport = transport
        self.lost.clear()

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._answer(reply)
        except hiredis.HiredisError as error:
            self._break(redis.exceptions.ConnectionError(f"The server does not speak its protocol: {error}"))

    def _answer(self, reply: Any) -> None:
        if not self._waiting:
            self._pushed(reply)
            return
        future, _ = self._waiting.popleft()
        settle(future, reply)

    def _late(self) -> None:
        """Look whether the oldest reply is overdue."""
        self._clock = None
        if not self._waiting:
            return
        left = self._waiting[0][1] - self._loop.time()
        if left > 0:
            self._clock = self._loop.call_later(left, self._late)
        else:
            self._break(redis.exceptions.TimeoutError("Timeout reading from socket"))

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the transport."""
        if self._former is not None:  # whoever waits for the stream's end
            self._former.connection_lost(error)
            self._former = self._writer = None
        self.lost.set()
        self._fail(redis.exceptions.ConnectionError(str(error or "Connection closed by server.")))

    def _break(self, error: Exception) -> None:
        transport = self._transport
        self._fail(error)
        if transport is not None:
            transport.abort()

    def _fail(self, error: Exception) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(error)

    def drop(self) -> None:
        """Let go of the connection; the next command makes another. What waits for a reply fails."""
        self._break(redis.exceptions.ConnectionError(_GIVEN_UP))

    def give_up(self) -> None:
        """The same, and let go of a connection that is being made."""
        if self._connecting is not None:
            self._connecting.cancel()
        self.drop()

    async def aclose(self) -> None:
        """Close; the connection is gone when this returns. Idempotent."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._clock is not None:
            self._clock.cancel()
        self.drop()
        if self._former is not None:
            await self.lost.wait()


def settle(future: asyncio.Future[Any], found: Any) -> None:
    """Tell whoever asked, unless they were cancelled, what was found, or which error."""
    if future.done():
        return
    if isinstance(found, Exception):
        future.set_exception(found)
    else:
        future.set_result(found)


def _error(said: str) -> redis.exceptions.ResponseError:
    """What a server answers as an error, with its code in front."""
    return redis.exceptions.ResponseError(said.removeprefix("ERR "))
