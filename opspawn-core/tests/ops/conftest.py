"""A house for durable work: a real store in memory, an engine, and workers that a test starts, stops and kills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from opspawn.contracts.events import Event
from opspawn.contracts.run import Handler
from opspawn.contracts.store import Batch, Put, Query, Receipt, Store, Task, TaskState
from opspawn.errors import NotFound, StoreError
from opspawn.ops.engine.engine import Engine
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.stores.sqlite import open_sqlite
from opspawn.testing import assert_invariants
from opspawn.wakers.local import LocalWaker

PATIENCE_S = 20.0


class Unreliable:
    """A store whose commits fail as told; everything else is that of the store behind it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits = 0
        self.fails: Callable[[Batch], str | None] = lambda batch: None
        """Says "before" or "after" for a commit that is to fail before it is applied, or when its reply is lost."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Receipt:
        if any(isinstance(one, Put) and getattr(one.record, "kind", None) == "worker" for one in batch.operations):
            return await self._store.commit(batch)  # workers tell of themselves whenever they like
        self.commits += 1
        when = self.fails(batch)
        if when == "before":
            raise StoreError("The disk is full.")
        receipt = await self._store.commit(batch)
        if when == "after":
            raise StoreError("The reply is lost.")
        return receipt


class Silent:
    """A store whose tail tells nothing; everything else is that of the store behind it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def tail(self, after: Any = None, **options: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


class House:
    """`functions` are what can be run, each as "function/NAME", and `handlers` what workers run besides; a test may
    change them between runs."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.waker = LocalWaker()
        self.functions: dict[str, Handler] = {}
        self.handlers: dict[str, Handler] = {}
        self.engine = Engine(store, self.waker, self._accept)
        self._workers: dict[Worker, asyncio.Task[None]] = {}

    def _accept(self, handler: str, input: Any) -> Any:
        if handler.partition("/")[2] not in self.functions:
            raise NotFound("function", handler)
        return input

    def untold_engine(self) -> Engine:
        """An engine of its own on the same store, whose callers no event tells of anything."""
        return Engine(Silent(self.store), self.waker, self._accept)  # type: ignore[arg-type]

    def function(self, body: Handler) -> Handler:
        """A decorator: what follows can be run under its name."""
        self.functions[body.__name__] = body
        return body

    def worker(self, *, store: Any = None, accepts: Any = None, isolate: Any = None, **options: Any) -> Worker:
        """Start a worker."""
        handlers = {f"function/{name}": function for name, function in self.functions.items()} | self.handlers
        options = {"poll_s": 0.05, "drain_s": 2.0, **options}
        given = {"ended": self.engine.ended} | ({} if isolate is None else {"isolate": isolate})
        worker = Worker(store or self.store, self.waker, handlers, WorkerOptions(**options), accepts=accepts, **given)
        self._workers[worker] = asyncio.create_task(worker.run())
        return worker

    async def stop(self, worker: Worker) -> None:
        """Stop a worker gracefully."""
        worker.stop()
        await self._workers.pop(worker)

    async def kill(self, worker: Worker) -> None:
        """End a worker as `kill -9` does: it writes nothing more, and its leases run out."""
        run = self._workers.pop(worker)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        await self.lapse(worker)

    async def lapse(self, worker: Worker) -> None:
        """Let the leases of a worker run out now."""
        running = await self.store.find_tasks(Query(where={"state": "running"}, limit=200))
        mine = [(task.id, task.token) for task in running.items if task.owner == worker.id]
        await self.store.renew(worker.id, mine, 0.0)
        self.waker.ring("default")

    async def submit(self, name: str, input: Any = None, **more: Any) -> Task:
        return await self.engine.submit(f"function/{name}", input, **more)

    async def settled(self, task: Task | str) -> Task:
        """The task once it has ended or halted."""
        id = task if isinstance(task, str) else task.id
        found = await self.engine.wait(id, PATIENCE_S)
        assert found.state in ("succeeded", "failed", "cancelled", "paused", "in_doubt"), f"{found.state} for long"
        return found

    async def settled_for_good(self, task: Task | str) -> Task:
        """The task once it has ended."""
        id = task if isinstance(task, str) else task.id
        await self.until(lambda: self._has_ended(id))
        return await self.engine.task(id)

    async def _has_ended(self, id: str) -> bool:
        return (await self.engine.task(id)).state.terminal

    async def run(self, name: str, input: Any = None, **more: Any) -> Task:
        """Submit a task and wait for it, with a worker if there is none."""
        if not self._workers:
            self.worker()
        return await self.settled(await self.submit(name, input, **more))

    async def reaches(self, task: Task | str, state: TaskState) -> Task:
        """The task once it is in a state."""
        id = task if isinstance(task, str) else task.id
        await self.until(lambda: self._is(id, state))
        return await self.engine.task(id)

    async def _is(self, id: str, state: TaskState) -> bool:
        return (await self.engine.task(id)).state is state

    async def until(self, holds: Callable[[], bool | Awaitable[bool]]) -> None:
        """Return once something holds."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            assert time.monotonic() < deadline, "what the test waits for does not come"
            await asyncio.sleep(0.005)

    async def events(self, task: Task | str, *types: str) -> list[Event]:
        """The events of a task, of some types only if any are given."""
        journal = await self.store.journal(task if isinstance(task, str) else task.id)
        return [event for event in journal if not types or event.type in types]

    async def types(self, task: Task | str) -> list[str]:
        return [event.type for event in await self.events(task)]

    async def children(self, task: Task) -> list[Task]:
        """The children of a task, oldest first."""
        page = await self.store.find_tasks(Query(where={"parent": task.id}, limit=200))
        return list(page.items)[::-1]

    async def aclose(self) -> None:
        for run in self._workers.values():
            run.cancel()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)
        await self.engine.aclose()
        await self.waker.aclose()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What fails here on purpose would fill the report."""
    logger.disable("opspawn")
    yield
    logger.enable("opspawn")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """On a store in memory, which must hold what is promised whatever the test did."""
    store = await open_sqlite(":memory:")
    house = House(store)
    yield house
    await house.aclose()
    await assert_invariants(store)
    await store.aclose()


@pytest.fixture
async def house_on_file(tmp_path: Path) -> AsyncIterator[House]:
    store = await open_sqlite(str(tmp_path / "opspawn.db"))
    house = House(store)
    yield house
    await house.aclose()
    await assert_invariants(store)
    await store.aclose()


@pytest.fixture
def unreliable(house: House) -> Unreliable:
    """The store of the house, with commits that can be made to fail."""
    return Unreliable(house.store)


class Count:
    """Counts calls by name: the effects that a test looks for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, name: str) -> int:
        self.calls.append(name)
        return self.calls.count(name)

    def __getitem__(self, name: str) -> int:
        return self.calls.count(name)


@pytest.fixture
def count() -> Count:
    return Count()
