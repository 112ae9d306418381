"""Rounds: all commits that wait go to the server in one call, which takes no longer than one of them would, and the
claims that wait go right behind it.

One round at a time, so that the reply to a call, should it be lost, can be asked for again; see `calls`. And so that
workers take turns: a server answers at once all that it has read, and where a worker has claims and commits under way
whenever it can, several workers come to wait for the server at the same time, and then the server for them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Any
from uuid import uuid4

from opspawn.contracts.store import Batch, Delete, Operation, Put, Receipt, Record
from opspawn.errors import StoreError
from opspawn.ops import turns
from opspawn_store_redis import outcomes
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.encoding import Argument, Encoded, encode
from opspawn_store_redis.functions import Function
from opspawn_store_redis.packing import packed, unpacked
from opspawn_store_redis.wire import settle

_MOST_BATCHES = 128
_MOST_OPERATIONS = 500
_MOST_BYTES = 1 << 20


def _frees(operation: Operation) -> bool:
    """Whether it leads to more room on the server: whoever deletes what is old first takes their turn."""
    if isinstance(operation, Put):
        return isinstance(operation.record, Record) and operation.record.kind == turns.KIND
    return isinstance(operation, Delete)


#: A batch, and what will become of it.
_Commit = tuple[Encoded, asyncio.Future[Any]]
#: What a claim asks, who asks and the number of the call, and what will be answered.
_Claim = tuple[Sequence[Argument], tuple[str, int], asyncio.Future[Any]]


class Groups:
    """Commits batches, and claims; from any event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._client = uuid4().hex
        self._number = 0
        self._waiting: deque[_Commit] = deque()
        self._claims: list[_Claim] = []
        self._work: asyncio.Task[None] | None = None

    async def commit(self, encoded: Encoded) -> Receipt:
        """Apply a batch. Raises: Conflict; Limited; StoreError."""
        if self._calls.closed:
            raise StoreError("The store is closed.")
        if asyncio.get_running_loop() is not self._calls.home:
            name, words = _call([encoded])
            answer = await self._calls.write(name, words, caller=(self._client, 0))
            (raw,) = outcomes.settled([encoded.numbers], unpacked(answer[4]))
        else:
            raw = await self._put(encoded)
        settled = outcomes.outcome(encoded.batch.operations, raw)
        if isinstance(settled, Receipt):
            return settled
        raise settled

    async def claim(self, words: Sequence[Argument], caller: tuple[str, int]) -> Any:
        """The answer to a claim. Raises: StoreError."""
        if asyncio.get_running_loop() is not self._calls.home:
            return await self._calls.write("claim", words, caller=caller)
        future: asyncio.Future[Any] = self._calls.home.create_future()
        self._claims.append((words, caller, future))
        self._begin()
        return await future

    def position(self) -> Awaitable[int]:
        """The newest position after all that stands before this call, and before all that comes later."""
        raw = self._put(encode(Batch(())))  # now, and not when it is first awaited

        async def position() -> int:
            return int((await raw).numbers[0])

        return position()

    def _put(self, encoded: Encoded) -> asyncio.Future[Any]:
        """What will become of a batch, which stands in its place among the others from now on; in the home loop."""
        future: asyncio.Future[Any] = self._calls.home.create_future()
        self._waiting.append((encoded, future))
        self._begin()
        return future

    def _begin(self) -> None:
        if self._work is None:
            self._work = self._calls.home.create_task(self._run(), name="opspawn-redis-rounds")

    async def _run(self) -> None:
        try:
            while self._waiting or self._claims:
                await self._round()
        finally:
            self._work = None

    async def _round(self) -> None:
        commits = self._next()
        claims = [claim for claim in self._claims if not claim[2].done()]  # else whoever asked was cancelled
        self._claims = []
        try:
            committing, claiming = self._send([encoded for encoded, _ in commits], claims)
        except Exception as error:
            for future in [*(future for _, future in commits), *(future for _, _, future in claims)]:
                settle(future, error)
            return
        if committing is not None:
            await self._settle_commits(commits, committing)
        for (_, _, future), answering in zip(claims, claiming, strict=True):
            try:
                settle(future, await answering)
            except Exception as error:
                settle(future, error)
        if claims:
            await asyncio.sleep(0)  # who was given all they asked for may want more, which goes with what waits

    def _send(
        self, group: Sequence[Encoded], claims: Sequence[_Claim]
    ) -> tuple[Awaitable[Any] | None, Sequence[Awaitable[Any]]]:
        """Send what is one round, the commits first, since what they free may be claimed: the answers to come."""
        committing = self._calls.send(*_call(group), caller=self._caller()) if group else None
        return committing, [self._calls.send("claim", words, caller=caller) for words, caller, _ in claims]

    async def _settle_commits(self, commits: Sequence[_Commit], committing: Awaitable[Any]) -> None:
        try:
            answer = await committing
            numbers = [encoded.numbers for encoded, _ in commits]
            found: Sequence[Any] = outcomes.settled(numbers, unpacked(answer[4]))
        except Exception as error:
            found = [error] * len(commits)
        for (_, future), settled in zip(commits, found, strict=True):
            settle(future, settled)

    def _caller(self) -> tuple[str, int]:
        self._number += 1
        return self._client, self._number

    def _next(self) -> list[_Commit]:
        if not self._waiting:
            return []
        group = [self._waiting.popleft()]
        operations, size = len(group[0][0].batch.operations), group[0][0].size
        while self._waiting and len(group) < _MOST_BATCHES:
            encoded = self._waiting[0][0]
            operations += len(encoded.batch.operations)
            size += encoded.size
            if operations > _MOST_OPERATIONS or size > _MOST_BYTES:
                break
            group.append(self._waiting.popleft())
        return group

    async def aclose(self) -> None:
        """Wait until what was accepted is done."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)


def _call(group: Sequence[Encoded]) -> tuple[Function, Sequence[Argument]]:
    """The function that commits a group, and its words."""
    large = {digest: value for encoded in group for digest, value in encoded.large.items()}
    tasks = [task for encoded in group for task in encoded.tasks]
    batches = [word for encoded in group for word in (encoded.batch.id or False, len(encoded.operations))]
    words: list[Argument] = [packed(large) if large else "", packed(tasks), packed(batches)]
    words += [operation for encoded in group for operation in encoded.operations]
    frees = all(_frees(operation) for encoded in group for operation in encoded.batch.operations)
    return "freeing" if frees else "commit", words
