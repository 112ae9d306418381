"""Commits in groups: all that wait go to the server in one call, which takes no longer than one of them would.

One call at a time, so that its reply, should it be lost, can be asked for again; see `calls`.
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
from opspawn_store_redis.packing import packed, unpacked

_MOST_BATCHES = 128
_MOST_OPERATIONS = 500
_MOST_BYTES = 1 << 20


def _frees(operation: Operation) -> bool:
    """Whether it leads to more room on the server: whoever deletes what is old first takes their turn."""
    if isinstance(operation, Put):
        return isinstance(operation.record, Record) and operation.record.kind == turns.KIND
    return isinstance(operation, Delete)


class Groups:
    """Commits batches; from any event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._client = uuid4().hex
        self._number = 0
        self._waiting: deque[tuple[Encoded, asyncio.Future[Any]]] = deque()
        self._work: asyncio.Task[None] | None = None

    async def commit(self, encoded: Encoded) -> Receipt:
        """Apply a batch. Raises: Conflict; Limited; StoreError."""
        if self._calls.closed:
            raise StoreError("The store is closed.")
        if asyncio.get_running_loop() is not self._calls.home:
            (raw,) = await self._send([encoded], (self._client, 0))
        else:
            raw = await self._put(encoded)
        settled = outcomes.outcome(encoded.batch.operations, raw)
        if isinstance(settled, Receipt):
            return settled
        raise settled

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
        if self._work is None:
            self._work = self._calls.home.create_task(self._run(), name="opspawn-redis-commits")
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group = self._next()
                try:
                    found: Sequence[Any] = await self._send([encoded for encoded, _ in group], self._caller())
                except Exception as error:
                    found = [error] * len(group)
                for (_, future), settled in zip(group, found, strict=True):
                    if future.done():  # whoever asked was cancelled
                        continue
                    if isinstance(settled, Exception):
                        future.set_exception(settled)
                    else:
                        future.set_result(settled)
        finally:
            self._work = None

    def _caller(self) -> tuple[str, int]:
        self._number += 1
        return self._client, self._number

    def _next(self) -> list[tuple[Encoded, asyncio.Future[Any]]]:
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

    async def _send(self, group: list[Encoded], caller: tuple[str, int]) -> Sequence[Any]:
        large = {digest: value for encoded in group for digest, value in encoded.large.items()}
        tasks = [task for encoded in group for task in encoded.tasks]
        batches = [word for encoded in group for word in (encoded.batch.id or False, len(encoded.operations))]
        words: list[Argument] = [packed(large) if large else "", packed(tasks), packed(batches)]
        words += [operation for encoded in group for operation in encoded.operations]
        frees = all(_frees(operation) for encoded in group for operation in encoded.batch.operations)
        answer = await self._calls.write("freeing" if frees else "commit", words, caller=caller)
        return outcomes.settled([encoded.numbers for encoded in group], unpacked(answer[4]))

    async def aclose(self) -> None:
        """Wait until what was accepted is done."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
