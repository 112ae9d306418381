"""How a worker that waits is given work by the commit that makes it ready: see lua/handing.lua.

Each worker has a channel of its own, which is listened to while the store is open. What comes is leased as by a claim
of the worker's own; it stays here until the worker asks. Losing a message costs the time until the worker's next claim,
which asks for what it has not heard of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]

from opspawn import details
from opspawn.contracts.store import Claim, Lease, LeaseStatus
from opspawn.errors import StoreError
from opspawn_store_redis import connections
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.ending import end
from opspawn_store_redis.wire import Wire

#: For how long an offer stands, in seconds, at most: see lua/handing.lua, by which each lease lasts longer by that.
_OFFERED_S = 2.0
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_LATE_S = 1.0

#: A task as the functions answer it.
Raw = Sequence[Any]
#: See `Store.renew`.
Renew = Callable[[str, Sequence[tuple[str, int]], float], Awaitable[list[LeaseStatus]]]


def _now() -> float:
    """Seconds that go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Mailbox:
    """What one worker is given.

    Args:
        decode: makes a lease of a task. look: called when something has come, or an offer may be made.

    Attributes:
        heard: the number of what the worker was given last, as far as it is known here.
        given: what came under that number, and was not asked for yet: until that was done, there is no other offer.
    """

    def __init__(
        self, calls: Calls, worker: str, decode: Callable[[Raw], Awaitable[Lease]], look: Callable[[], None]
    ) -> None:
        self.heard = 0
        self.given: list[Raw] = []
        self.channel = f"{calls.prefix}given:{worker}"
        self._client = connections.async_client(calls.config)
        self._wire = Wire(self._client, calls.config.timeout_s, self._pushed)
        self._decode = decode
        self.look = look
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
        if not self.given:
            return []
        raw, self.given = self.given, []
        self._standing = False  # what was given ends an offer
        try:
            given = [await self._decode(one) for one in raw]
        except StoreError:
            self.heard = 0  # the next claim tells of it again
            raise
        if _now() - self._offered > _OFFERED_S:  # guard: leases count from when a worker gets them
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
        if self._told < number:
            self._wire.drop()

    async def _listen(self) -> None:
        pause = _PAUSE_S
        while True:
            try:
                await self._wire.ask("SUBSCRIBE", self.channel)
                self._listens, pause = True, _PAUSE_S
                await self._wire.lost.wait()
            except Exception as error:  # without it the worker claims by itself
                details.debug("Work cannot be given to this worker for a moment: {}", error, error_type="store")
            self._listens = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _pushed(self, reply: Sequence[bytes]) -> None:
        if reply[0] == b"message":
            self._hear(reply[2])

    def _hear(self, data: bytes) -> None:
        number, *raw = msgpack.unpackb(data, raw=True)
        self._told = number
        if number > self.heard:  # guard: a claim may have told of it already
            self.heard = number
            self.given = raw
            self.look()

    async def aclose(self) -> None:
        """Listen no more."""
        await end((self._work,))
        await self._wire.aclose()
        await self._client.aclose()
