"""`crash_everywhere`: run something durable again and again, killed before and after each of its writes in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from opspawn.contracts.events import Event
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.run import Handler
from opspawn.contracts.store import Batch, Claim, Lease, Query, Receipt, Store, Task, TaskState
from opspawn.errors import StoreError
from opspawn.ops.engine import Engine
from opspawn.ops.executor import Worker, WorkerOptions
from opspawn.stores.sqlite import open_sqlite
from opspawn.wakers.local import LocalWaker

#: What a human would say about a task in doubt: an outcome of `resolve`, and the result if it "happened".
Decide = Callable[[Task], tuple[str, Any]]
#: What others do with a task, given by its id, while it runs.
Meanwhile = Callable[[Engine, str], Awaitable[None]]
_PATIENCE_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CrashRun:
    """One run: killed at its `write`-th write (0: never), before or `after` it was applied. `journals` are by task."""

    write: int
    after: bool
    task: Task
    journals: Mapping[str, Sequence[Event]]
    doubts: int


async def crash_everywhere(
    begin: Callable[[], Mapping[str, Handler]],
    handler: str,
    input: Any = None,
    *,
    folder: Path,
    decide: Decide | None = None,
    meanwhile: Meanwhile | None = None,
    options: TaskOptions | None = None,
) -> list[CrashRun]:
    """Run `handler` undisturbed, and then twice for each write to the store, with a crash before and after it.

    Each run has a database of its own in `folder`. After the crash nothing of the first worker reaches the store any
    more, and another worker goes on. All runs must end alike, and none may record an end of a step twice.

    Args:
        begin: called at the start of each run; returns its handlers, e.g. bound to a new counter of effects.
        decide: answers for tasks in doubt, which only `once` effects cause. Without it a doubt is a failure.
        meanwhile: what others do with the task while it runs: signals, answers, pauses. It is begun again after the
            crash, so it must bear being repeated; it is not what crashes.
        options: how the task is submitted.

    Returns: the runs, the undisturbed one first, in the order of `begin`.

    Raises: AssertionError: names the write and how the run differs.
    """
    outside = _Outside(decide, meanwhile, options or {})
    clean = await _run(begin(), handler, input, folder / "clean.db", 0, False, outside)
    runs = [clean[0]]
    for write in range(1, clean[1] + 1):
        for after in (False, True):
            path = folder / f"{write}-{'after' if after else 'before'}.db"
            run, _ = await _run(begin(), handler, input, path, write, after, outside)
            _check_alike(runs[0], run)
            runs.append(run)
    return runs


@dataclass(frozen=True, slots=True)
class _Outside:
    """What comes from outside the worker."""

    decide: Decide | None
    meanwhile: Meanwhile | None
    options: TaskOptions


class _Mortal:
    """A store as one process sees it that dies at its n-th write: from then on nothing reaches the store."""

    def __init__(self, store: Store, dies_at: int, after: bool) -> None:
        self._store = store
        self._dies_at = dies_at
        self._after = after
        self.writes = 0
        self.dead = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        if self.dead.is_set():
            raise StoreError("This process is dead.")
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> Receipt:
        return await self._write(lambda: self._store.commit(batch))

    async def claim(self, claim: Claim) -> list[Lease]:
        return await self._write(lambda: self._store.claim(claim))

    async def _write(self, apply: Callable[[], Awaitable[T]]) -> T:
        if self.dead.is_set():
            raise StoreError("This process is dead.")
        if self.writes + 1 == self._dies_at and not self._after:
            self.dead.set()
            raise StoreError("This process dies.")
        answer = await apply()
        if answer != []:  # a claim that found nothing wrote nothing
            self.writes += 1
            if self.writes == self._dies_at:
                self.dead.set()
                raise StoreError("This process dies.")
        return answer


async def _run(
    handlers: Mapping[str, Handler],
    handler: str,
    input: Any,
    path: Path,
    write: int,
    after: bool,
    outside: _Outside,
) -> tuple[CrashRun, int]:
    """One run, and how many writes its first worker made."""
    store = await open_sqlite(str(path), synchronous="normal")
    mortal = _Mortal(store, write, after)
    try:
        task = await Engine(store, LocalWaker(), lambda _, given: given).submit(handler, input, **outside.options)
        settled, doubts = await _live(mortal, store, handlers, task, outside)
        if settled is None:
            await store.aclose()  # the dead worker's leases end with its process
            store = await open_sqlite(str(path), synchronous="normal")
            settled, more = await _live(_Mortal(store, 0, False), store, handlers, task, outside)
            doubts += more
        assert settled is not None, f"killed at write {write}, the task does not end"
        tree = (await store.find_tasks(Query(where={"root": settled.root}, limit=200))).items
        journals = {one.id: await store.journal(one.id) for one in tree}
        return CrashRun(write, after, settled, journals, doubts), mortal.writes
    finally:
        await store.aclose()


async def _live(
    mortal: _Mortal, store: Store, handlers: Mapping[str, Handler], task: Task, outside: _Outside
) -> tuple[Task | None, int]:
    """The task once it has ended, or None if the worker died; and how many doubts were decided."""
    waker = LocalWaker()
    engine = Engine(store, waker, lambda _, given: given)
    worker = Worker(mortal, waker, handlers, WorkerOptions(poll_s=0.05))
    working = asyncio.create_task(worker.run())
    dead = asyncio.create_task(mortal.dead.wait())
    others = asyncio.create_task(_others(engine, task, outside.meanwhile))
    doubts = 0
    try:
        while True:
            waiting = asyncio.create_task(engine.wait(task.id, _PATIENCE_S))
            await asyncio.wait({waiting, dead}, return_when=asyncio.FIRST_COMPLETED)
            if dead.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                return None, doubts
            settled = waiting.result()
            if settled.state is TaskState.PAUSED and outside.meanwhile is not None and not others.done():
                await asyncio.sleep(0.01)
                continue
            if settled.state is not TaskState.IN_DOUBT or outside.decide is None:
                return settled, doubts
            doubts += 1
            await engine.resolve(task.id, *outside.decide(settled))
    finally:
        for end in (working, dead, others):
            end.cancel()
        await asyncio.gather(working, dead, others, return_exceptions=True)
        await engine.aclose()


async def _others(engine: Engine, task: Task, meanwhile: Meanwhile | None) -> None:
    if meanwhile is not None:
        await meanwhile(engine, task.id)


def _check_alike(clean: CrashRun, run: CrashRun) -> None:
    where = f"killed {'after' if run.after else 'before'} write {run.write}"
    assert _end(run.task) == _end(clean.task), f"{where}: ends with {_end(run.task)}, undisturbed {_end(clean.task)}"
    for journal in run.journals.values():
        ended: set[str] = set()
        for event in journal:
            key = event.data.get("key")
            if event.type in ("step.done", "step.failed"):
                assert key not in ended, f"{where}: the step {key!r} has two ends"
                ended.add(str(key))
            elif event.type == "task.retry":
                ended.discard(str(key))


def _end(task: Task) -> tuple[str, Any, Any]:
    error = task.error or {}
    return str(task.state), task.result, (error.get("type"), error.get("message"))
