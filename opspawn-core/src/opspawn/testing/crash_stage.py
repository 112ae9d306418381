"""The stage of `crash_everywhere`: one run of a scenario, with a worker that is killed at a certain write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.contracts.clock import Clock
from opspawn.contracts.store import Query, Store, Task, TaskState
from opspawn.host import Host
from opspawn.ops.engine.doubts import open_doubts
from opspawn.ops.engine.reading import SETTLED
from opspawn.ops.run.executor import WorkerOptions
from opspawn.plugins import Plugins
from opspawn.testing.invariants import read_everything
from opspawn.testing.mortal import Mortal
from opspawn.testing.punctual import Punctual
from opspawn.wakers.local import LocalWaker

#: What is done with the app, from outside: submit, signal, answer, resolve, wait. What it returns must be the same.
Scenario = Callable[[Host], Awaitable[Any]]
#: Opens the store of a run for one process more; the text names the run.
OpenStore = Callable[[str], Awaitable[Store]]
#: What a human would say about a step in doubt, of which key, name and arguments are given: an outcome of `resolve`,
#: and the result if it "happened".
Decide = Callable[[Mapping[str, Any]], tuple[str, Any]]


@dataclass(frozen=True)
class Stage:
    """What all runs have in common. `patience_s` is how long a run may take, in seconds of its clock."""

    scenario: Scenario
    decide: Decide | None
    open_store: OpenStore
    clock: Clock
    loaded: Loaded
    plugins: Plugins
    options: WorkerOptions
    patience_s: float


class Play:
    """One run, over `store`. Afterwards: `answer` is what the scenario returned, `doubts` how many were decided,
    `writes` how often the first worker wrote.
    """

    def __init__(self, stage: Stage, app: App, store: Store, name: str) -> None:
        self._stage = stage
        self._app = app
        self._store = store
        self._name = name
        self._bell = _Bell()
        self.answer: Any = None
        self.doubts = 0
        self.writes = 0

    async def run(self, write: int, after: bool) -> None:
        """Play it to its end, with a second worker if the first dies. Raises: AssertionError: it does not end."""
        stage = self._stage
        lent = Mortal(self._store)  # which does not close it
        async with Host.open(
            self._app,
            loaded=stage.loaded,
            plugins=stage.plugins,
            worker=False,
            options=stage.options,
            store=lent,
            waker=self._bell,
            clock=stage.clock,
        ) as host:
            acting = [asyncio.create_task(self._act(host)), asyncio.create_task(self._decide(host))]
            try:
                self.writes = await self._work(acting[0], write, after)
                if not acting[0].done():
                    await self._work(acting[0], 0, False)
                await acting[0]
            finally:
                for end in acting:
                    end.cancel()
                await asyncio.gather(*acting, return_exceptions=True)

    async def _act(self, host: Host) -> None:
        """Follow the scenario, and wait until everything else has settled too."""
        try:
            async with asyncio.timeout(self._stage.patience_s):
                self.answer = await self._stage.scenario(host)
                while await self._unsettled():  # noqa: ASYNC110 time is what it waits for
                    await asyncio.sleep(self._stage.options.poll_s)
                self.answer = await self._as_ended(self.answer)
        except TimeoutError as error:
            left = await self._unsettled()
            raise AssertionError(f"it does not end; left: {', '.join(left) or 'the scenario'}") from error

    async def _as_ended(self, answer: Any) -> Any:
        """An answer in which tasks stand as they are now."""
        if isinstance(answer, Task):
            return await self._store.get_task(answer.id)
        if isinstance(answer, list | tuple):
            return [await self._as_ended(item) for item in answer]
        return answer

    async def _unsettled(self) -> list[str]:
        tasks, _ = await read_everything(self._store)
        settled = SETTLED - {TaskState.IN_DOUBT} if self._stage.decide is not None else SETTLED
        return [f"{task.handler} is {task.state}" for task in tasks if task.state not in settled]

    async def _decide(self, host: Host) -> None:
        while self._stage.decide is not None:
            page = await self._store.find_tasks(Query(where={"state": TaskState.IN_DOUBT}, limit=200))
            for task in page.items:
                for doubt in open_doubts(task):
                    outcome, result = self._stage.decide(doubt)
                    self.doubts += 1
                    await host.resolve(task.id, outcome, result, key=doubt["key"])
            await asyncio.sleep(self._stage.options.poll_s)

    async def _work(self, acting: asyncio.Task[None], write: int, after: bool) -> int:
        """Work until all is done or this process has died; return how often it wrote."""
        async with AsyncExitStack() as stack:
            store = await self._stage.open_store(self._name)
            stack.push_async_callback(store.aclose)
            process = Mortal(Punctual(store, self._bell.ring), write, after=after)
            self._bell.waker = LocalWaker()
            host = await stack.enter_async_context(
                Host.open(
                    self._app,
                    loaded=self._stage.loaded,
                    plugins=self._stage.plugins,
                    options=self._stage.options,
                    store=process,
                    waker=self._bell.waker,
                    clock=self._stage.clock,
                )
            )
            died = asyncio.create_task(process.dead.wait())
            await asyncio.wait({acting, died}, return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if process.dead.is_set():
                host.stop()
                host.stop()  # the second time: nobody waits for the dead
            return process.writes


class _Bell:
    """A waker for callers that rings at whichever worker there is."""

    def __init__(self) -> None:
        self.waker: LocalWaker | None = None

    def ring(self, queue: str) -> None:
        if self.waker is not None:
            self.waker.ring(queue)

    async def wait(self, queues: tuple[str, ...], timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)

    async def aclose(self) -> None:
        return None
