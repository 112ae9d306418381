"""Hints through a server: a short list per queue, from which a worker that has room pops.

One push wakes one worker, so there is no herd. A commit of the store of the same namespace pushes by itself, so that a
worker is awake before whoever asked has the reply. A list holds at most 64 hints, for a minute, and may be lost: each
worker looks for itself every `poll_s` as well. Rings of one queue are sent at most every 50 ms, the first at once;
where a store of the namespace is, and so its commits have pushed before, a moment later, when the worker that was woken
has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from opspawn import details
from opspawn.contracts.store import Finding
from opspawn_store_redis import connections
from opspawn_store_redis.ending import end
from opspawn_store_redis.faults import as_store_error
from opspawn_store_redis.settings import ConnectionConfig
from opspawn_store_redis.telling import Telling

_KEPT = 64
_KEPT_S = 60  # as in lua/commit.lua
_RING_EVERY_S = 0.05
_AFTER_A_COMMIT_S = 0.02
_BLOCK_S = 2
#: What a trial takes as a queue: nobody waits for it.
NO_QUEUE = "no-queue"


class RedisWaker:
    """See `opspawn.contracts.waker.Waker`. To be made in the event loop in which it is waited for."""

    def __init__(self, config: ConnectionConfig) -> None:
        self.config = config
        self.prefix = f"osp:{{{config.namespace}}}:wake:"
        self._home = asyncio.get_running_loop()
        self._client: Any = connections.async_client(config)
        self._popper: Any = connections.async_client(config, socket_timeout=_BLOCK_S + config.timeout_s)
        self._rung: set[str] = set()
        self._news = asyncio.Event()
        self._waiting = 0
        self._room = asyncio.Event()
        self._queues: tuple[str, ...] = ()
        self._due: dict[str, float] = {}  # queues to ring, and when
        self._sent: dict[str, float] = {}
        self._later_s: float | None = None  # by how much rings are put off; None until it is known
        self._ringing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.telling = Telling("Hints cannot be heard, so workers look by their timer.", config, error_type="waker")

    def ring(self, queue: str) -> None:
        """Say that there may be work in `queue`; from any thread; never blocks, never fails."""
        with suppress(RuntimeError):  # no loop runs here, or that of the waker is closed: nobody waits any more
            if asyncio.get_running_loop() is self._home:
                self._ring(queue)
                return
        with suppress(RuntimeError):
            self._home.call_soon_threadsafe(self._ring, queue)

    def _ring(self, queue: str) -> None:
        if self._closed:
            return
        if queue in self._queues:
            self.heard(queue)
        if queue not in self._due:
            now = self._home.time() + (self._later_s or 0.0)
            self._due[queue] = max(now, self._sent.get(queue, 0.0) + _RING_EVERY_S)
        if self._ringing is None:
            self._ringing = asyncio.create_task(self._send(), name="opspawn-ring")

    async def _send(self) -> None:
        try:
            while self._due:
                now = self._home.time()
                await asyncio.sleep(max(0.0, min(self._due.values()) - now))
                now = self._home.time()
                for queue in [queue for queue, due in self._due.items() if due <= now]:
                    del self._due[queue]
                    self._sent[queue] = now
                    await self.pass_on(queue)
                if self._later_s is None:
                    store_is_here = await self._client.exists(f"{self.prefix.removesuffix('wake:')}meta")
                    self._later_s = _AFTER_A_COMMIT_S if store_is_here else 0.0
        except Exception as error:  # a hint less costs latency, never work
            self._due.clear()
            details.debug("A hint was not sent: {}", error, error_type="waker")
        finally:
            self._ringing = None

    async def pass_on(self, queue: str) -> None:
        """Send a ring of this process."""
        await self.send(queue)

    async def send(self, queue: str) -> None:
        """Tell other processes."""
        await self._push(queue)

    async def _push(self, queue: str) -> None:
        key = self.prefix + queue
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.lpush(key, "1")
            pipe.ltrim(key, 0, _KEPT - 1)
            pipe.expire(key, _KEPT_S)
            await pipe.execute()

    async def check(self) -> Sequence[Finding]:
        """Whether hints get through, for an operator: one is sent, and heard."""
        try:
            await self.try_out()
        except Exception as error:
            fault: Any = as_store_error(error, self.config, writing=False)
            words = f"Hints do not get through, so work waits for the timer of a worker. {fault.message}"
            return [Finding("error", words, fault.remedy)]
        words = f"Hints go by {connections.shown(self.config)}, in the namespace {self.config.namespace!r}."
        return [Finding("ok", words)]

    async def try_out(self) -> None:
        """Do what a ring does and what hears it, in a queue for which nobody waits."""
        await self._push(NO_QUEUE)
        await self._popper.execute_command("BLPOP", f"{self.prefix}{NO_QUEUE}", _BLOCK_S)

    def heard(self, queue: str) -> None:
        """There may be work in a queue."""
        self._rung.add(queue)
        self._news.set()

    async def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        """Return when a queue was rung since the last wait, when all is closed, or after `timeout_s` seconds."""
        if not self._tasks and not self._closed:
            self._queues = queues
            self._tasks = [asyncio.create_task(one, name="opspawn-waker") for one in self.listeners()]
        self._waiting += 1
        self._room.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    while self._rung.isdisjoint(queues) and not self._closed:
                        self._news.clear()
                        await self._news.wait()
            self._rung.difference_update(queues)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._room.clear()

    def listeners(self) -> list[Any]:
        """What runs while somebody waits for work: coroutines."""
        return [self._pop()]

    async def _pop(self) -> None:
        """Pop hints, while somebody has room for work: one who has none would only take them from others."""
        keys = [self.prefix + queue for queue in self._queues]
        while True:
            await self._room.wait()
            try:
                found = await self._popper.execute_command("BLPOP", *keys, _BLOCK_S)
                self.telling.worked("list")
            except Exception as error:
                await asyncio.sleep(self.telling.failed(error, "list"))
                with suppress(Exception):
                    await self._popper.connection_pool.disconnect(inuse_connections=False)
                continue
            if found:
                self._room.clear()  # first the look, to which this hint leads; the next hint may be for others
                self.heard(found[0].decode().removeprefix(self.prefix))

    async def aclose(self) -> None:
        """Send what is still to be rung, and let go of everything. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._news.set()
        if self._ringing is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._ringing), 1.0)
        tasks = [*self._tasks, *([self._ringing] if self._ringing is not None else [])]
        await end(tasks)
        for client in (self._client, self._popper):
            with suppress(Exception):
                await client.aclose()
