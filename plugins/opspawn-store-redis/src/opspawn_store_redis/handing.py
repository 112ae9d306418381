"""How a worker that waits is given work by the commit that makes it ready: see lua/handing.lua.

Each worker has a channel of its own, which is listened to while the store is open. What comes is leased as by a claim
of the worker's own; it stays here until the worker asks. Losing a message costs the time until the worker's next claim,
which asks for what it has not heard of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import msgpack  # type: ignore[import-untyped]
from loguru import logger

from opspawn.contracts.store import Claim, Lease, LeaseStatus
from opspawn.errors import StoreError
from opspawn_store_redis import connections
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.ending import end

#: For how long an offer stands, in seconds, at most: see lua/handing.lua, by which each lease lasts longer by that.
_OFFERED_S = 2.0
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_LATE_S = 1.0

#: A task as the functions answer it, as a lease.
Decode = Callable[[Sequence[Any]], Awaitable[Lease]]
#: See `Store.renew`.
Renew = Callable[[str, Sequence[tuple[str, int]], float], Awaitable[list[LeaseStatus]]]


def _now() -> float:
    """Seconds that go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Mailbox:
    """What one worker is given.

    Args:
        decode: makes a lease of a task. look: called when something has come.

    Attributes:
        heard: the number of what the worker was given last, as far as it is known here.
        given: what came under that number, and was not asked for yet: until that was done, there is no other offer.
    """

    def __init__(self, calls: Calls, worker: str, decode: Decode, look: Callable[[], None]) -> None:
        self.heard = 0
        self.given: list[Lease] = []
        self.channel = f"{calls.prefix}given:{worker}"
        self._client: Any = connections.async_client(calls.config, socket_timeout=None)
        self._decode = decode
        self._look = look
        self._told = 0
        self._listens = False
        self._asked = self._offered = 0.0
        self._standing = False
        self._work = asyncio.create_task(self._listen(), name="opspawn-redis-given")

    def words(self, *, idle: bool) -> tuple[str, int]:
        """What a claim says of it: whether the worker may be given work from now on, and what it has heard of."""
        if idle and self._listens:
            self._asked, self._standing = _now(), True
            return "+", self.heard
        if not self._standing:
            return "", 0
        self._standing = False
        return "-", self.heard

    async def take(self, claim: Claim, renew: Renew) -> list[Lease]:
        """What has come since the last time, as far as it is still held."""
        given, self.given = self.given, []
        if given:
            self._standing = False  # what was given ends an offer
        if given and _now() - self._offered > _OFFERED_S:  # guard: leases count from when a worker gets them
            held = [(lease.task.id, lease.token) for lease in given]
            statuses = await renew(claim.worker, held, claim.lease_s)
            given = [lease for lease, status in zip(given, statuses, strict=True) if status.kept]
        return given

    def learned(self, number: int, heard: int) -> None:
        """A claim that said what was heard has told of what was given under a number, and returned that if it is
        another. If it is not heard here as well, in a while, nobody is listening.
        """
        self._offered = self._asked
        if number <= heard:
            return
        self.given = []  # guard: what a claim returns is not given again
        self.heard = number
        asyncio.get_running_loop().call_later(_LATE_S, self._check, number)

    def _check(self, number: int) -> None:
        if self._told < number and not self._work.done():
            self._work.cancel()
            self._listens = False
            self._work = asyncio.create_task(self._listen(), name="opspawn-redis-given")

    async def _listen(self) -> None:
        pause = _PAUSE_S
        while True:
            try:
                async with self._client.pubsub() as pubsub:
                    await pubsub.subscribe(self.channel)
                    while True:
                        sort, _, data = await pubsub.parse_response()
                        if sort == b"message":
                            await self._hear(data)
                        else:
                            self._listens, pause = True, _PAUSE_S
            except Exception as error:  # without it the worker claims by itself
                logger.bind(error_type="store").debug("Work cannot be given to this worker for a moment: {}", error)
            finally:
                self._listens = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _hear(self, data: bytes) -> None:
        number, *raw = msgpack.unpackb(data, raw=True)
        self._told = number
        if number <= self.heard:  # guard: a claim has told of it already
            return
        try:
            given = [await self._decode(one) for one in raw]
        except StoreError as error:  # the next claim tells of it
            logger.bind(error_type=error.error_type).debug("What was given could not be read: {}", error)
            return
        if number > self.heard:
            self.heard = number
            self.given += given
            self._look()

    async def aclose(self) -> None:
        """Listen no more."""
        await end((self._work,))
        with suppress(Exception):
            await self._client.aclose()
