"""The store on a Redis or Valkey server, shared by all processes that reach it.

    store = await open_redis(RedisConfig(url="redis://127.0.0.1:6379/0"))

How it works: each operation is one function in Lua (`lua/`), which checks everything before it writes anything.
`groups` sends commits together, `calls` gets through to the server, `handing` hears of work that was leased without
asking, `following` tails live, `watching` notices what was lost, `health` says whether the server will do.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence, Set
from typing import Any
from uuid import uuid4

from loguru import logger

from opspawn.contracts.clock import Clock
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.store import CLAIMED_AT_ONCE, Batch, Claim, Finding, Lease, LeaseStatus, Put, Receipt, Task
from opspawn.errors import Conflict, StoreError, StoreUnusable
from opspawn_store_redis import connections, decoding, encoding, health, rights
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.encoding import Argument, optional
from opspawn_store_redis.following import Deltas, Following, Tail
from opspawn_store_redis.groups import Groups
from opspawn_store_redis.handing import Mailbox
from opspawn_store_redis.lookups import Lookups
from opspawn_store_redis.moving import Moving
from opspawn_store_redis.settings import RedisConfig
from opspawn_store_redis.watching import Watch
from opspawn_store_redis.winding import Winding

LAYOUT = 5


async def open_redis(config: RedisConfig | None = None, *, clock: Clock | None = None) -> RedisStore:
    """Open the store of a namespace. `clock` replaces the server's, in tests.

    Raises: StoreUnusable: the server cannot be reached, or cannot keep what the settings promise; the remedy says more.
    """
    config = config or RedisConfig()
    where = f"The server {connections.shown(config)}"
    calls = Calls(config, clock)
    try:
        health.refuse_unfit(await health.ask(calls.command), config, where)
        await rights.refuse_lacking(calls)
        nothing = calls.watermark.since
        answer = await calls.ask_era(calls.watermark.words(nothing, LAYOUT))
    except StoreUnusable:
        await calls.aclose()
        raise
    except StoreError as error:
        await calls.aclose()
        raise StoreUnusable(error.message, remedy=error.remedy) from error
    if int(answer[4]) != LAYOUT:
        await calls.aclose()
        raise StoreUnusable(
            f"{where} holds the namespace {config.namespace!r} in layout {int(answer[4])}, not {LAYOUT}.",
            remedy="Upgrade opspawn-store-redis, or choose another namespace in [plugins.redis].",
        )
    calls.watermark.learn(nothing, answer)
    calls.opened = True
    return RedisStore(calls)


class RedisStore(Moving):
    """See `opspawn.contracts.store.Store` for what each method promises. Made by `open_redis`."""

    name = "redis"

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._groups = Groups(calls)
        self._lookups = Lookups(calls)
        self._deltas = Deltas(calls)
        self._following = Following(calls, self.events_after, self._deltas.listen)
        self._deltas.heard = self._following.offer
        self._watch = Watch(calls, LAYOUT, self.commit, self.events)
        calls.suspect = self._watch.suspect
        self._guard = threading.Lock()
        self._claims: dict[str, int] = {}  # by worker, the number of its last claim
        self._leases: dict[str, tuple[str, int]] = {}  # by task, worker and token, of claims that are not over yet
        self._mailboxes: dict[str, Mailbox] = {}  # by worker
        self._me = uuid4().hex
        self._closing: asyncio.Future[None] | None = None
        self._winding = Winding(calls, self._leases)

    @property
    def alarm(self) -> str | None:
        """What only a human can judge: the store went back in time."""
        return self._calls.watermark.alarm

    async def commit(self, batch: Batch) -> Receipt:
        """Apply a batch, all or nothing. Raises: Conflict; Limited; StoreError."""
        try:
            receipt = await self._groups.commit(encoding.encode(batch))
        except Conflict:  # which ends the life of a run as well
            self._end_claims(batch)
            raise
        self._end_claims(batch)
        return receipt

    def _end_claims(self, batch: Batch) -> None:
        for operation in batch.operations:
            if isinstance(operation, Put) and operation.token is not None and isinstance(operation.record, Task):
                self._over(operation.record.id, operation.token)

    def _over(self, task: str, token: int) -> None:
        """A claim has ended: who holds nothing any more may offer itself again."""
        worker, held = self._leases.get(task, ("", 0))
        if held != token:
            return
        self._leases.pop(task, None)
        if not self._leases and (mailbox := self._mailboxes.get(worker)) is not None:
            mailbox.look()

    async def claim(self, claim: Claim) -> list[Lease]:
        """Lease due tasks, lowest rank first."""
        if self._calls.closed:
            raise StoreError("The store is closed.")
        slots = min(max(claim.slots, 0), CLAIMED_AT_ONCE)  # the rest in the next round
        mailbox = self._mailboxes.get(claim.worker)
        if mailbox is not None and (given := await mailbox.take(claim, self.renew)):
            self._leases.update((lease.task.id, (claim.worker, lease.token)) for lease in given)
            return given
        idle = not claim.ending_only and not any(worker == claim.worker for worker, _ in self._leases.values())
        offer = ("", 0) if mailbox is None else mailbox.words(idle=idle and slots > 0)
        words: list[Argument] = [optional(claim.id), claim.worker, json.dumps(claim.worker), slots]
        words += (round(claim.lease_s * 1_000_000), len(claim.queues), *claim.queues)
        words += (len(claim.handlers), *claim.handlers, int(claim.ending_only), *offer)
        with self._guard:
            number = self._claims[claim.worker] = self._claims.get(claim.worker, 0) + 1
        # One caller per claim that may be under way at once: what counts is its last answer.
        answer = await self._groups.claim(words, (f"{self._me}:{claim.worker}:{number % 8}", number))
        leases = [await self._lease(raw) for raw in answer[4]]
        if mailbox is not None:
            mailbox.learned(answer[5], offer[1])
        self._leases.update((lease.task.id, (claim.worker, lease.token)) for lease in leases)
        return leases

    async def _lease(self, raw: Sequence[Any]) -> Lease:
        return Lease(await self._whole(decoding.row(raw)))

    def give_to(self, worker: str, look: Callable[[], None]) -> None:
        """Let commits lease what becomes ready to this worker at once while it holds nothing; `look` is called when
        there is something that its next claim returns. In the event loop that opened the store, before its first claim.
        """
        if not (self._calls.virtual or self._calls.closed):
            self._mailboxes[worker] = Mailbox(self._calls, worker, self._lease, look)

    async def renew(self, worker: str, leases: Sequence[tuple[str, int]], lease_s: float) -> list[LeaseStatus]:
        """Prolong leases; the answer has their order."""
        if self._calls.closed:
            raise StoreError("The store is closed.")
        answer = await self._calls.write(
            "renew", [worker, round(lease_s * 1_000_000), *encoding.lease_words(leases)]
        )  # fmt: skip
        for (task, token), (kept, _) in zip(leases, answer[4], strict=True):
            if not kept:  # maybe in another loop than that of the store
                self._calls.home.call_soon_threadsafe(self._over, task, token)
        return [
            LeaseStatus(task, bool(kept), wakes) for (task, _), (kept, wakes) in zip(leases, answer[4], strict=True)
        ]

    def publish(self, deltas: Sequence[TaskDelta]) -> None:
        """Offer deltas to whoever tails, in this process or another; best effort."""
        if not self._calls.closed:
            before = self._calls.watermark.pos
            self._calls.home.call_soon_threadsafe(self._publish, before, tuple(deltas))

    def _publish(self, before: int, deltas: Sequence[TaskDelta]) -> None:
        self._following.offer(before, deltas)
        self._deltas.publish(deltas)

    def tail(self, after: int | None = None, *, types: Sequence[str] = ()) -> AsyncIterator[Event | TaskDelta]:
        """Events of all processes as they are committed, and deltas. Ends when the store is closed."""
        return Tail(self._following, self._read_after, self._begin() if after is None else after, frozenset(types))

    def _begin(self) -> asyncio.Future[int] | int:
        """Where "now" is: between what was committed before this call, and what comes later."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._calls.watermark.pos
        if self._calls.closed:
            return 0
        asking = self._groups.position() if loop is self._calls.home else self._position()
        begin = asyncio.ensure_future(asking)
        begin.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may never be asked for
        return begin

    async def _position(self) -> int:
        return int((await self._calls.read("read", "state"))[1])

    async def _read_after(self, position: int, limit: int, types: Set[str]) -> list[Event]:
        try:
            return (await self.events_after(position, limit, types))[0]
        except StoreError:
            if self._calls.closed:  # whoever tails is told of the end a moment later
                return []
            raise

    async def check(self) -> Sequence[Finding]:
        """What an operator should know of this server, worst first."""
        if self._calls.closed:
            raise StoreError("The store is closed.")
        server = await health.ask(self._calls.command)
        found = health.findings(server, self._calls.config, await self._watch.told())
        return health.worst_first([*await rights.findings(self._calls), *found])

    async def ready(self) -> None:
        """Return if the server takes writes, is still fit, and has what it confirmed. Raises: StoreError: which not."""
        await self._watch.look("probe")
        if (alarm := await self._watch.alarm()) is not None:
            raise StoreError(alarm, remedy=health.JUDGE)
        where = f"The server {connections.shown(self._calls.config)}"
        health.refuse_unfit(await health.ask(self._calls.command), self._calls.config, where)

    def stopping(self, after_s: float) -> None:
        """This process stops: from so many seconds on, nothing waits for a server that does not answer."""
        self._winding.begin(after_s)

    async def aclose(self) -> None:
        """Finish what was accepted, end our leases, close all connections. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._winding.begin(0.0)
        await self._watch.aclose()
        await self._groups.aclose()
        try:
            await self._give_up()
        except StoreError as error:
            self._tell_not_given_up(error)
        await self._lookups.aclose()
        self._calls.closed = True
        await self._winding.aclose()
        await self._following.aclose()
        await self._deltas.aclose()
        await self._calls.aclose()

    def _tell_not_given_up(self, error: StoreError) -> None:
        words = "Leases end by themselves, later" if self._leases else "The offer to take work ends by itself, soon"
        logger.bind(error_type=error.error_type).warning("{}: {}", words, error)

    async def _give_up_given(self, worker: str, mailbox: Mailbox) -> None:
        """Take back the offer of a worker, and have what came and was never begun among what is given up."""
        words = ("", worker, json.dumps(worker), 0, 0, 0, 0, 0, "-", mailbox.heard)
        answer = await self._calls.write("claim", words, caller=(uuid4().hex, 1))
        leases = [await self._lease(raw) for raw in [*mailbox.given, *answer[4]]]
        self._leases.update((lease.task.id, (worker, lease.token)) for lease in leases)

    async def _give_up(self) -> None:
        workers: dict[str, list[tuple[str, int]]] = {}
        for worker, mailbox in self._mailboxes.items():
            await mailbox.aclose()
            await self._give_up_given(worker, mailbox)
        for task, (worker, token) in self._leases.items():
            workers.setdefault(worker, []).append((task, token))
        for worker, leases in workers.items():
            await self._calls.write("renew", [worker, "", *encoding.lease_words(leases)])
