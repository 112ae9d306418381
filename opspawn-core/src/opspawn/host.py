"""A running Opspawn: an app, a store, a waker, plugins and, as configured, a worker and transports, in one process."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast
from uuid import uuid4

from opspawn.app import App
from opspawn.catalog import Catalog
from opspawn.config import Loaded, load_settings
from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.events import Event, TaskDelta
from opspawn.contracts.lifecycle import RegisteredAgent
from opspawn.contracts.memory import Memory
from opspawn.contracts.options import TaskOptions
from opspawn.contracts.plugins import TransportPlugin
from opspawn.contracts.run_events import RunEvent
from opspawn.contracts.schedule import Schedule, ScheduleStatus
from opspawn.contracts.store import EventQuery, Operation, Page, Query, Store, Task
from opspawn.contracts.transport import AgentInfo, DeadQuery, OfferedTool, Transport
from opspawn.contracts.waker import Waker
from opspawn.errors import Conflict, StoreError
from opspawn.hosted import Hosted
from opspawn.isolation import isolation
from opspawn.mounting import Ways
from opspawn.opening import (
    listeners_of,
    load_plugins,
    new_kit,
    open_store,
    open_waker,
    overridden,
    roster_options,
    worker_options,
)
from opspawn.ops.agents.reach import REMOTE_RETRY
from opspawn.ops.agents.records import handler_of
from opspawn.ops.definitions import INLINE, Definitions
from opspawn.ops.engine.checks import check_level, check_wait
from opspawn.ops.engine.engine import Engine
from opspawn.ops.housekeeping import keep_house, keep_of
from opspawn.ops.listening import Listeners
from opspawn.ops.overdue import keep_deadlines
from opspawn.ops.purging import keep_memory
from opspawn.ops.registries import Roster
from opspawn.ops.retry_plans import plan_of
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.ops.run.store_time import StoreTime
from opspawn.ops.schedules.configured import keep_configured
from opspawn.ops.schedules.firing import Firing
from opspawn.ops.schedules.schedules import StoredSchedules
from opspawn.ops.sessions.sessions import opening
from opspawn.ops.streaming import stream_of
from opspawn.plugins import Plugins

_READY_S = 1.5


class Host(Hosted):
    """What transports, the CLI and tests talk to. See `opspawn.contracts.transport.Host` for what it promises."""

    store: Store

    def __init__(
        self, app: App, loaded: Loaded, plugins: Plugins, waker: Waker, catalog: Catalog, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.app = app
        self.loaded = loaded
        self.plugins = plugins
        self.transports: list[Transport] = []
        self._ways = Ways({})
        self.worker: Worker | None = None
        self._waker = waker
        self._catalog = catalog
        self._clock = clock
        self._engine: Engine
        self._working: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._keeping: list[asyncio.Task[None]] = []
        #: Tells this process from others, where one does something for all.
        self.id = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        app: App,
        *,
        loaded: Loaded | None = None,
        data: str | Path | None = None,
        model: str | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        worker: bool = True,
        runs: bool | None = None,
        queues: Sequence[str] | None = None,
        transports: bool = False,
        options: WorkerOptions | None = None,
        check: Callable[[Catalog], object] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        store: Store | None = None,
        waker: Waker | None = None,
        plugins: Plugins | None = None,
    ) -> AsyncIterator[Host]:
        """Open everything, run the worker and the transports while the block lasts, then stop gracefully.

        Args:
            loaded: the configuration; by default that of the current folder and the environment.
            data, model, sections: override its `data`, its `model` and its `[plugins.NAME]` tables.
            worker: whether this process claims and runs tasks. runs: whether it could; by default as `worker`.
            queues: which; by default those of the configuration.
            transports: whether to open the configured ways in.
            options: the worker's options instead of the configuration's.
            check: called with what the app can run before the store is opened: what it raises leaves nothing behind.
            clock: what tells the engine and the worker the time; a store has its own.
            store, waker: to use instead of the configured ones; they are closed like those.
            plugins: those of the configuration, if they are loaded already.

        Raises:
            ConfigError: something in the configuration or the app is wrong; everything opened so far is closed again.
            StoreUnusable: the store cannot be opened.
        """
        loaded = overridden(loaded or load_settings(), data, model, sections)
        plugins = plugins or load_plugins(loaded)
        async with AsyncExitStack() as stack:
            kit = new_kit(loaded, plugins)
            stack.push_async_callback(kit.aclose)
            kit.memories.check()
            catalog = Catalog(app, kit, runs=worker if runs is None else runs)
            if check is not None:
                check(catalog)
            waker = waker or await open_waker(plugins, loaded)
            stack.push_async_callback(waker.aclose)
            listeners = Listeners(listeners_of(app, plugins, loaded) if worker or transports else {})
            host = cls(app, loaded, plugins, waker, catalog, clock)
            stack.push_async_callback(host._unbind)
            if transports:
                await host._bind(loaded.settings.transports)
            options = options or worker_options(loaded, queues)
            host._use(store or await open_store(loaded, plugins), options.poll_s)
            stack.push_async_callback(host.store.aclose)
            stack.push_async_callback(listeners.aclose)
            stack.push_async_callback(host._stop)
            await host._enrol()
            await listeners.start(host.store, host.id, clock)
            await host._ways.start()
            if worker:
                if tuple(options.queues) == tuple(loaded.settings.worker.queues):  # not one of a terminal's own
                    await keep_configured(host._schedules, loaded)
                host._work(options)
            yield host

    # -- what the outside sees -----------------------------------------------------------------------------------------

    def agents(self) -> Sequence[AgentInfo]:
        return [self.app.agents[name] for name in sorted(self.app.agents)]

    def workflows(self) -> Sequence[str]:
        return sorted({*self._catalog.workflows, *self._roster.directory.workflows})

    async def tools(self, named: Sequence[str], agent: str = "") -> Sequence[OfferedTool]:
        return await self._catalog.tool_calls.offered(named, agent)

    async def memory(self) -> Memory:
        return await self._catalog.memories.get()

    async def handler_of(self, agent_id: str) -> str:
        if agent_id in self.app.agents:
            return f"agent/{agent_id}"
        return handler_of(await self.registry.endpoint_of(agent_id))

    async def submit(self, handler: str, input: Any = None, **options: Unpack[TaskOptions]) -> Task:
        return await self._submit(handler, input, options, lambda task: ())

    async def _submit(
        self, handler: str, input: Any, options: TaskOptions, also: Callable[[Task], Sequence[Operation]]
    ) -> Task:
        agent, session = options.get("agent"), options.get("session")
        if agent is not None and agent not in self.app.agents:
            await self.registry.endpoint_of(agent)
        if (overrides := options.get("overrides")) is not None:
            self._catalog.check_overrides(handler, overrides)
        await self._catalog.pin(handler)
        if handler.startswith("remote/"):
            options = {**options, "retry": options.get("retry") or REMOTE_RETRY}
        opens = self._opening if session is None and handler.startswith("workflow/") else lambda task: ()

        def accept(*along: Operation) -> Awaitable[Task]:
            return self._engine.submit(handler, input, also=lambda task: [*opens(task), *along, *also(task)], **options)

        if session is None:
            return await accept()
        admission = await self.sessions.admission(session)
        while True:
            try:
                return await accept(admission)
            except Conflict:
                before, admission = admission, await self.sessions.admission(session)
                if admission == before:  # it was not about the session
                    raise

    async def schedule(self, name: str, run: str, input: Any = None, **when: Any) -> ScheduleStatus:
        """Let a handler run when its time comes; `when` are the members of `Schedule`. Raises: as `schedules.add`."""
        return await self.schedules.add(Schedule(name, run, input, **when))

    async def enqueue(self, handler: str, input: Any = None, **options: Unpack[TaskOptions]) -> Task:
        return await self.submit(handler, input, **options)

    async def dispatch(
        self, handler: str, input: Any = None, *, wait_s: float = math.inf, **options: Unpack[TaskOptions]
    ) -> Task:
        check_wait(wait_s)
        task = await self.submit(handler, input, **options)
        return await self._engine.wait(task.id, wait_s, accepted=task) if wait_s > 0 else task

    def _opening(self, task: Task) -> Sequence[Operation]:
        """A workflow opens a session of its own."""
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return opening(task.session or "", task.agent, task.handler.removeprefix("workflow/"), {}, now)

    async def submit_definition(
        self, definition: dict[str, Any], input: Any = None, **options: Unpack[TaskOptions]
    ) -> Task:
        pinned = await self._catalog.pin_definition(definition)
        asked = {"definition": pinned.digest, "inputs": input}
        if pinned.limit is not None:
            options = {**options, "limits": [*options.get("limits", ()), pinned.limit]}
        return await self.submit(INLINE, asked, **options)

    async def task(self, id: str) -> Task:
        return await self._engine.task(id)

    async def wait(self, id: str, timeout_s: float) -> Task:
        return await self._engine.wait(id, timeout_s)

    async def tasks(self, query: Query) -> Page[Task]:
        return await self._engine.tasks(query)

    async def journal(self, id: str, after: int = 0) -> Sequence[Event]:
        return await self._engine.journal(id, after)

    async def events(self, query: EventQuery) -> Sequence[Event]:
        check_level(query.level)
        return await self.store.events(query)

    async def tail(self, after: int | None = None) -> AsyncGenerator[Event | TaskDelta, None]:
        source = self.store.tail(after)
        closing = asyncio.ensure_future(self._closing.wait())
        item: asyncio.Future[Event | TaskDelta] | None = None
        try:
            while not closing.done():
                item = asyncio.ensure_future(anext(source))
                await asyncio.wait({item, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not closing.done():
                    yield item.result()
        finally:
            # Whoever stops listening must not leave a follower behind in the store.
            ends: list[asyncio.Future[Any]] = [closing] if item is None else [closing, item]
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def stream(
        self, id: str, *, after: str | None = None, begin: Callable[[], Awaitable[Task]] | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """As the contract says. `begin` makes the task, once it is listened to: not even its first words are missed."""
        find = begin or partial(self._engine.task, id)
        async for event in stream_of(self.store, self.tail, find, after, new=begin is not None):
            yield event

    async def cancel(self, id: str) -> Task:
        return await self._engine.cancel(id)

    async def retry(
        self,
        id: str,
        retry_count: int | None = None,
        *,
        from_scratch: bool = False,
        idempotency_key: str | None = None,
    ) -> Task:
        await self._catalog.refuse_unknown((await self._engine.task(id)).handler)
        return await self._engine.retry(id, retry_count, from_scratch=from_scratch, idempotency_key=idempotency_key)

    async def dead(self, query: DeadQuery) -> Page[Task]:
        return await self._engine.dead(query)

    async def retry_all(
        self,
        query: DeadQuery,
        *,
        everything: bool = False,
        limit: int = 100,
        from_scratch: bool = False,
        retry_count: int | None = None,
    ) -> tuple[list[Task], bool]:
        return await self._engine.retry_all(
            query, everything=everything, limit=limit, from_scratch=from_scratch, retry_count=retry_count
        )

    async def fallback_task(self, id: str, handler: str | None = None) -> Task:
        handler = handler or plan_of(await self._engine.task(id)).fallback
        if handler is not None:
            await self._catalog.pin(handler)
        return await self._engine.fallback_task(id, handler)

    async def resolve(
        self, id: str, outcome: str, result: Any = None, *, key: str | None = None, by: str | None = None
    ) -> Task:
        return await self._engine.resolve(id, outcome, result, key=key, by=by)

    async def ready(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"store": "ok", "worker": "none"}
        try:
            async with asyncio.timeout(_READY_S):  # whatever asks us gives up soon
                await self._look_at_store()
        except TimeoutError:
            parts["store"] = f"The store has not answered within {_READY_S:g} s."
        except StoreError as error:
            parts["store"] = error.message
        if (alarm := getattr(self.store, "alarm", None)) is not None:
            parts["store"] = alarm
        if self._working is not None:
            parts["worker"] = "ok" if not self._working.done() else "stopped"
        failed = [status.name for status in self.plugins.report() if status.status == "failed"]
        good = parts["store"] == "ok" and parts["worker"] != "stopped" and not self._closing.is_set()
        return {"ready": good, "draining": self._closing.is_set(), **parts, "failedPlugins": failed}

    async def _look_at_store(self) -> None:
        if (look := getattr(self.store, "ready", None)) is not None:
            await look()
        await self.store.find_tasks(Query(limit=1))

    # -- the inside ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin to stop: no new claims, streams end; a second call gives tasks back at once."""
        self._closing.set()
        self._hurry()
        if self.worker is not None:
            self.worker.stop()

    def _hurry(self) -> None:
        """Have the store wait for nothing any more once the worker has had its time."""
        stopping: Callable[[float], None] | None = getattr(self.store, "stopping", None)
        if stopping is not None:
            stopping(self.worker.drain_s if self.worker is not None else 0.0)

    async def working(self) -> None:
        """Return when the worker has ended, which it does only after `stop` or by a fault, which is then raised."""
        if self._working is not None:
            await asyncio.shield(self._working)

    async def _bind(self, names: Sequence[str]) -> None:
        """Make the transports and let each take its address."""
        records = [cast(TransportPlugin, self.plugins.get("transport", name)) for name in dict.fromkeys(names)]
        for record in records:
            self.transports.append(record.open(self, self.plugins.section(record, self.loaded.sections)))
        self._ways = Ways({record.name: one for record, one in zip(records, self.transports, strict=True)})
        await self._ways.bind()

    async def _unbind(self) -> None:
        await self._ways.stop()

    def _use(self, store: Store, look_again_s: float) -> None:
        self.store = self._catalog.store = store
        self._engine = Engine(store, self._waker, self._catalog.accept, self._clock, holds=self._catalog.holds)
        self._engine.look_again_s = look_again_s
        definitions = Definitions(store, self._catalog.workflows, self._catalog.pin_definition, self._catalog.pinned)
        options = roster_options(self.loaded, self.app)
        self._roster = Roster(store, self._engine, definitions, options, changed=self._learn, clock=self._clock)
        self._schedules = StoredSchedules(store, self._submit, self._check)
        self._catalog.reach = self._roster.reach
        self._catalog.stored = definitions.current

    async def _enrol(self) -> None:
        """Register the app's agents, and learn what others have registered. Raises: AppError; StoreError."""
        own = [
            RegisteredAgent(
                agent.name,
                agent.name,
                local=True,
                metadata={"description": agent.description} if agent.description else {},
                concurrency=agent.concurrency,
            )
            for agent in self.app.agents.values()
        ]
        await self._roster.agents.announce(own)
        await self._roster.open()

    def _learn(self, roster: Roster) -> None:
        self._catalog.learn(roster.directory.workflows)

    async def _check(self, handler: str, input: Any) -> None:
        await self._catalog.pin(handler)
        self._catalog.accept(handler, input)

    async def _accept(self, handler: str, input: Any) -> Any:
        """What to record as the input of a child task."""
        await self._catalog.pin(handler)
        return self._catalog.accept(handler, input)

    def _work(self, options: WorkerOptions) -> None:
        self.worker = self._new_worker(options, None)
        self._engine.coming, self._engine.claimed = self.worker.expect, self.worker.has
        self._working = asyncio.create_task(self.worker.run(), name="opspawn-worker")
        keep = keep_of(self.loaded.settings.retention)
        self._keeping = [
            asyncio.create_task(keep_house(self.store, keep, self.id, self._clock), name="opspawn-house"),
            asyncio.create_task(
                keep_deadlines(self.store, self._waker, self.id, self._clock), name="opspawn-deadlines"
            ),
            asyncio.create_task(self._firing(options).run(), name="opspawn-schedules"),
            asyncio.create_task(keep_memory(self._catalog.memories, self._clock), name="opspawn-memory"),
        ]

    def _firing(self, options: WorkerOptions) -> Firing:
        def serves(schedule: Schedule) -> bool:
            return schedule.queue in options.queues and schedule.run in self._catalog.handlers

        return Firing(self.store, self._schedules, self._submit, self.id, serves, self._clock)

    async def work_alone(self, task: Task, worker: str, options: WorkerOptions, ahead_s: float) -> None:
        """Live one life of a task that `worker`, another process, has claimed; nothing is claimed here.

        `ahead_s` is what the store's time is ahead of the monotonic clock of this machine, in seconds.
        """
        now = self._clock.monotonic()
        clock = StoreTime(self._clock, datetime.fromtimestamp(now + ahead_s, UTC), now)
        self.worker = self._new_worker(options, worker)
        self._working = asyncio.create_task(self.worker.run_alone(task, clock), name="opspawn-worker")
        await self.working()

    def _new_worker(self, options: WorkerOptions, id: str | None) -> Worker:
        return Worker(
            self.store,
            self._waker,
            self._catalog.handlers,
            options,
            accepts=self._accept,
            id=id,
            isolate=isolation(self.app, self.loaded, self.store, options),
            clock=self._clock,
            rates=self._catalog.rates,
            policies=self._catalog.policies,
            holds=self._catalog.holds,
            ended=self._engine.ended,
        )

    async def _stop(self) -> None:
        self._closing.set()
        self._hurry()
        for keeper in self._keeping:
            keeper.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self.worker is not None and self._working is not None:
            if not self.worker.stopping:  # a second call would give tasks back in the middle of a step
                self.worker.stop()
            await asyncio.gather(self._working, return_exceptions=True)
        await self._unbind()
        await self._roster.aclose()
        await self._engine.aclose()
