"""Where a conversation is held: a host of its own in an event loop that runs beside the keyboard.

The main thread belongs to the person who types, so that line editing, history and Ctrl-C work as in a shell; the host
lives in another thread and goes on with its leases meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import nullcontext
from functools import partial
from typing import Any, TypeVar

from opspawn.app import App
from opspawn.cli.follow import Follower, Show, Submit
from opspawn.cli.run import QUEUE
from opspawn.cli.screen import Screen
from opspawn.config import Loaded
from opspawn.contracts.events import Event
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.store import EventQuery, Query, Task
from opspawn.host import Host
from opspawn.ops.ids import new_id

T = TypeVar("T")


class Beside:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="opspawn-chat", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work in the loop. Ctrl-C raises KeyboardInterrupt here, and the work goes on."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop; what is left in it is cancelled."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()


class Room:
    """A conversation with one agent: an open host that takes the runs of this session alone."""

    def __init__(self, loaded: Loaded, app: App, agent: str, session: str) -> None:
        self.agent = agent
        self.session = session
        self._loaded = loaded
        self._app = app
        self._queue = f"{QUEUE}{session}"
        self._host: Host | None = None
        self._follower: Follower | None = None
        self._closing = asyncio.Event()
        self._living: asyncio.Task[None] | None = None

    @property
    def host(self) -> Host:
        assert self._host is not None, "the room is open"
        return self._host

    async def open(self, model: str | None = None) -> None:
        """Open the host, with another model for the agent if one is given. Raises: what opening a host raises."""
        ready = asyncio.Event()
        self._closing = asyncio.Event()
        self._living = asyncio.create_task(self._live(model, ready))
        first = asyncio.create_task(ready.wait())
        await asyncio.wait({self._living, first}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if self._living.done():
            self._living.result()

    async def aclose(self) -> None:
        """Stop the host; a run that goes on is given back, to be gone on with. Idempotent."""
        if self._living is not None:
            self._closing.set()
            if self._host is not None:
                self._host.stop()
            await asyncio.gather(self._living, return_exceptions=True)
            self._living = None

    async def say(self, text: str, show: Show, screen: Screen | None) -> Task:
        """Say something, and follow the run to its end."""
        id = new_id()
        options: TaskOptions = {"id": id, "queue": self._queue, "session": self.session}
        return await self.follow(id, show, screen, partial(self.host.submit, f"agent/{self.agent}", text, **options))

    async def follow(self, id: str, show: Show, screen: Screen | None, submit: Submit | None = None) -> Task:
        """Follow a run to its end; without `submit` one that goes on."""
        self._follower = Follower(self.host, id, show, screen)
        try:
            return await self._follower.follow(submit)
        finally:
            self._follower = None

    async def unfinished(self) -> Task | None:
        """The run of this session that was cut off, if one was."""
        page = await self.host.tasks(Query(where={"session": self.session}, limit=200))
        found = [task for task in page.items if not task.state.terminal and task.parent is None]
        return found[0] if found else None

    async def answers(self) -> list[Event]:
        """How the runs of this session ended so far."""
        query = EventQuery(session=self.session, types=("agent.answered",), newest=True, limit=1000)
        return list(await self.host.events(query))

    async def _live(self, model: str | None, ready: asyncio.Event) -> None:
        agent = self._app.agents[self.agent]
        try:
            with agent.override(model=model) if model is not None else nullcontext():
                async with Host.open(self._app, loaded=self._loaded, queues=[self._queue]) as self._host:
                    ready.set()
                    await self._closing.wait()
        finally:
            self._host = None
