"""`TestEnvironment`: an app at work in virtual time, with everything in memory."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opspawn.app import App
from opspawn.config import Loaded
from opspawn.config.settings import Settings
from opspawn.contracts.events import Event
from opspawn.contracts.store import Store, Task
from opspawn.host import Host
from opspawn.ops.engine.reading import SETTLED
from opspawn.ops.run.executor import WorkerOptions
from opspawn.testing.invariants import assert_invariants
from opspawn.testing.mortal import Mortal
from opspawn.testing.punctual import POLL_S, Punctual
from opspawn.testing.store_model import ModelStore
from opspawn.testing.virtual import VirtualClock, running_clock, seconds
from opspawn.wakers.local import LocalWaker


class TestEnvironment:
    """Runs an app while the block lasts; only in a test under `@virtual_time`.

    ```python
    @virtual_time
    async def test_it_reminds_me_after_three_days():
        async with TestEnvironment(app) as env:
            task = await env.submit("agent/reminder", "water the flowers")
            await env.advance("3d")
            assert (await env.task(task)).state == "succeeded"
    ```

    At the end the store must hold what is promised, see `assert_invariants`.

    Args:
        model: the model of agents that name none. loaded: the configuration, by default the defaults of all settings.
        options: the worker's, e.g. `WorkerOptions(lease_s=60, poll_s=3600)`.

    Attributes:
        clock: the virtual time. store: where everything is. host: what REST and the command line talk to.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of its name

    clock: VirtualClock
    store: Store
    host: Host

    def __init__(
        self,
        app: App,
        *,
        model: str | None = None,
        loaded: Loaded | None = None,
        options: WorkerOptions | None = None,
    ) -> None:
        self._app = app
        self._model = model
        self._loaded = loaded
        self._options = options or WorkerOptions(poll_s=POLL_S)
        self._stack = AsyncExitStack()
        self._process: Mortal
        self._waker: LocalWaker

    async def __aenter__(self) -> Self:
        self.clock = running_clock()
        self.store = ModelStore(now=self.clock.time)
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        try:
            if error is None:
                await assert_invariants(self.store)
        finally:
            await self.store.aclose()

    # -- work ----------------------------------------------------------------------------------------------------------

    async def submit(self, handler: str, input: Any = None, **more: Any) -> Task:
        """Accept a task; `more` is what `Host.submit` takes."""
        return await self.host.submit(handler, input, **more)

    async def task(self, task: Task | str) -> Task:
        """A task as it stands."""
        return await self.host.task(_id(task))

    async def journal(self, task: Task | str) -> list[Event]:
        """What has happened in a task."""
        return list(await self.host.journal(_id(task)))

    async def wait(self, task: Task | str, within: str | float | timedelta = "366d") -> Task:
        """The task once it has ended, is paused or in doubt; time passes until then.

        Raises: AssertionError: it has not after `within`; the text says what it does instead.
        """
        found = await self.host.wait(_id(task), seconds(within))
        if found.state not in SETTLED:
            last = (await self.journal(task))[-1]
            raise AssertionError(f"Task {found.id} is still {found.state} after {within}; its last event is {last}.")
        return found

    async def run(self, handler: str, input: Any = None, **more: Any) -> Any:
        """The result of a task, once it has succeeded. Raises: AssertionError: it ended otherwise."""
        ended = await self.wait(await self.submit(handler, input, **more))
        if ended.state != "succeeded":
            raise AssertionError(f"Task {ended.id} is {ended.state}: {ended.error}.")
        return ended.result

    # -- time and accidents --------------------------------------------------------------------------------------------

    async def advance(self, duration: str | float | timedelta) -> None:
        """Let time pass, e.g. "3d", "1h30m" or seconds; return when all that could happen until then has happened."""
        await self.clock.advance(duration)

    async def crash(self) -> None:
        """End the process as `kill -9` does, and start another: leases run out, and what ran goes on from its journal.

        Code that is not in the journal begins again; callbacks and `finally` of what ran may still be called, but
        nothing that they do reaches the store.
        """
        self._process.die()
        self.host.stop()
        self.host.stop()  # the second time: nobody waits for the dead
        await self.restart()

    async def restart(self) -> None:
        """End the process gracefully, and start another."""
        await self._stack.aclose()
        await self._start()

    async def _start(self) -> None:
        self._waker = LocalWaker()
        self._process = Mortal(Punctual(self.store, self._ring))
        loaded = self._loaded or Loaded(Settings(), folder=Path(self._app.root))
        self.host = await self._stack.enter_async_context(
            Host.open(
                self._app,
                loaded=loaded,
                model=self._model,
                options=self._options,
                clock=self.clock,
                store=self._process,
                waker=self._waker,
            )
        )

    def _ring(self, queue: str) -> None:
        self._waker.ring(queue)


def _id(task: Task | str) -> str:
    return task if isinstance(task, str) else task.id
