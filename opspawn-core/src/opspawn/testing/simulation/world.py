"""One simulated world: workers, callers, an operator and a nemesis on one store, all decided by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from opspawn.contracts.lifecycle import Session
from opspawn.contracts.limit import Limit
from opspawn.contracts.store import Query, Store, Task, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound, StoreError
from opspawn.ops.engine.doubts import open_doubts
from opspawn.ops.engine.engine import Engine
from opspawn.ops.run.executor import Worker, WorkerOptions
from opspawn.testing.simulation.alone import SimulatedCell
from opspawn.testing.simulation.clerks import Clerk
from opspawn.testing.simulation.flow import FLOW, run_flow
from opspawn.testing.simulation.outside import Outside, body, outside
from opspawn.testing.simulation.people import People
from opspawn.testing.simulation.process import Doorbell, Process, Weather
from opspawn.testing.simulation.programs import HANDLER, PATIENT, RATES, make_program, once_effects, run_program
from opspawn.testing.virtual import VirtualClock

LEASE_S = 10.0
#: How long things go wrong, and how long everything may take to end afterwards, in virtual seconds.
STORM_S, CALM_S = 50.0, 900.0
_TASKS_PER_S, _WORKERS, _OPERATORS = 7 / 60, 3, 4
_FAULT_EVERY_S = 3.0
_LIMITS = (Limit("few", 2),)
_OPTIONS = WorkerOptions(slots=4, lease_s=LEASE_S, poll_s=2.0, drain_s=5.0)


@dataclass
class Order:
    """A task that a caller asked for."""

    id: str
    program: list[dict[str, Any]]
    accepted: bool = False
    cancelled: bool = False


@dataclass
class Employed:
    """A worker, its process and its run."""

    process: Process
    worker: Worker
    run: asyncio.Task[None]


@dataclass
class World:
    """Everything there is; `say` gets a line about each thing that goes wrong."""

    clock: VirtualClock
    store: Store
    chance: random.Random
    say: Callable[[str], None]
    storm_s: float = STORM_S
    weather: Weather = field(default_factory=Weather)
    outside: Outside = field(default_factory=Outside)
    orders: list[Order] = field(default_factory=list)
    again: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    faults: int = 0
    _staff: list[Employed] = field(default_factory=list)
    _names: int = 0

    @property
    def once(self) -> set[str]:
        """The names of all `once` effects."""
        return {key for order in self.orders for key in once_effects(order.program)}

    def __post_init__(self) -> None:
        self.doorbell = Doorbell(self.chance, self.weather)
        outside.set(self.outside)

    async def live(self) -> bool:
        """Live through a storm and the calm after it; say whether everything ended in time."""
        for _ in range(_WORKERS):
            self._employ()
        callers = [asyncio.create_task(self._call(number)) for number in range(round(_TASKS_PER_S * self.storm_s))]
        operators = [asyncio.create_task(self._operate()) for _ in range(_OPERATORS)]
        operators += [asyncio.create_task(self._correspond()) for _ in range(2)]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.storm_s):
                await self._rage()
        self.say("calm")
        self.weather.bad = False
        for employed in self._staff:
            employed.process.thaw()
            employed.process.off_s = 0.0
        try:
            async with asyncio.timeout(CALM_S):
                await asyncio.gather(*callers)
                while await self._unfinished():  # noqa: ASYNC110 time is what it waits for
                    await asyncio.sleep(5.0)
            return True
        except TimeoutError:
            return False
        finally:
            for end in (*operators, *callers):
                end.cancel()
            await asyncio.gather(*operators, *callers, return_exceptions=True)
            for employed in self._staff:
                employed.worker.stop()
            await asyncio.gather(*(employed.run for employed in self._staff), return_exceptions=True)

    async def _unfinished(self) -> bool:
        for state in (state for state in TaskState if not state.terminal):
            if (await self.store.find_tasks(Query(where={"state": state}, limit=1))).items:
                return True
        return False

    # -- people --------------------------------------------------------------------------------------------------------

    def _process(self, sort: str) -> Process:
        self._names += 1
        return Process(f"{sort}-{self._names}", self.store, self.clock, self.chance, self.weather)

    def _engine(self, process: Process) -> Engine:
        return Engine(process, self.doorbell, lambda _, given: given, process)

    def _employ(self) -> None:
        process = self._process("worker")
        token = body.set(process)
        worker = self._worker(process)
        self._staff.append(Employed(process, worker, asyncio.create_task(worker.run())))
        body.reset(token)

    def _worker(self, process: Process) -> Worker:
        return Worker(
            process,
            self.doorbell,
            {HANDLER: run_program, FLOW: run_flow},
            _OPTIONS,
            id=process.name,
            clock=process,
            rates=RATES,
            isolate=lambda lease, ahead_s: SimulatedCell(process, lease, ahead_s, self._worker),
        )

    async def _call(self, number: int) -> None:
        """Ask for a task until it is accepted: the same key makes it one task."""
        order = Order(f"t-{number:024x}", make_program(self.chance, f"p{number}"))
        self.orders.append(order)
        await asyncio.sleep(self.chance.uniform(0.0, self.storm_s * 0.6))
        process = self._process("caller")
        engine = self._engine(process)
        clerk = Clerk(process, engine, self.files) if self.chance.random() < 0.3 else None
        more: dict[str, Any] = {
            "idempotency_key": f"order-{number}",
            "retry": PATIENT,
            "delay_s": self.chance.choice([0.0, 0.0, self.chance.uniform(0.0, 20.0)]),
            "priority": self.chance.randint(-1, 1),
            "limits": _LIMITS if self.chance.random() < 0.6 else (),
        }
        if clerk is not None:
            more["session"] = await clerk.open(f"order-{number}")
        task = await self._insist(lambda: engine.submit(HANDLER, order.program, id=order.id, **more))
        assert task.id == order.id
        order.accepted = True
        if clerk is not None:
            order.cancelled |= (off := self.chance.random() < 0.2)
            await clerk.close(more["session"], "cancelled" if off else "completed")

    async def sessions(self) -> list[Session]:
        """All sessions, as they stand in the end."""
        process = self._process("reader")
        return await Clerk(process, self._engine(process), self.files).read()

    async def _operate(self) -> None:
        """Decide about steps in doubt, by what is known outside. All who do look at the same moments."""
        engine = self._engine(self._process("operator"))
        while True:
            await asyncio.sleep(3.0)
            with suppress(StoreError):
                page = await self.store.find_tasks(Query(where={"state": TaskState.IN_DOUBT}, limit=200))
                for task in page.items:
                    await self._resolve(engine, task)

    async def _correspond(self) -> None:
        """Send what runs wait for, answer what they ask, and let go on what is paused. There are two of these, too."""
        process = self._process("correspondent")
        people = People(self._engine(process), self.outside, self.chance, self.weather)
        while True:
            await asyncio.sleep(self.chance.uniform(1.0, 3.0))
            with suppress(StoreError):
                await people.act()

    async def _resolve(self, engine: Engine, task: Task) -> None:
        for doubt in open_doubts(task):
            await self._decide(engine, task, doubt)

    async def _decide(self, engine: Engine, task: Task, doubt: Mapping[str, Any]) -> None:
        [key, *_] = doubt["arguments"]
        happened = self.outside.happened[key] > 0
        self.say(f"operator: {key} {'happened' if happened else 'again'}")
        result = f"{key} done" if happened else None
        with suppress(InvalidTransition):  # another one was faster
            try:
                await engine.resolve(task.id, "happened" if happened else "again", result, key=doubt["key"])
            except InvalidInput:
                return  # likewise, and another doubt is left
            except StoreError:
                self._allow(key, happened)
                raise
            self._allow(key, happened)

    def _allow(self, key: str, happened: bool) -> None:
        """Somebody may have decided that an effect begins again."""
        if not happened:
            self.again[key] = self.again.get(key, 0) + 1

    async def _insist(self, ask: Callable[[], Awaitable[Task]]) -> Task:
        while True:
            try:
                return await ask()
            except StoreError:
                await asyncio.sleep(self.chance.expovariate(1.0))

    # -- the nemesis ---------------------------------------------------------------------------------------------------

    async def _rage(self) -> None:
        deeds = [
            self._crash,
            self._crash,
            self._freeze,
            self._freeze,
            self._freeze,
            self._jump,
            self._restart,
            self._storm,
            self._hold,
        ]
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / _FAULT_EVERY_S))
            self.faults += 1
            await self.chance.choice(deeds)()

    async def _busy(self) -> Employed:
        """A worker in the middle of an effect, as soon as there is one; any worker if there is none for long."""
        for _ in range(10):
            if acting := [one for one in self._staff if one.process.acting and not one.process.frozen]:
                return self.chance.choice(acting)
            await asyncio.sleep(0.5)
        return self.chance.choice(self._staff)

    async def _crash(self) -> None:
        employed = await self._busy()
        self._staff.remove(employed)
        self.say(f"crash {employed.process.name}")
        employed.process.die()
        employed.run.cancel()
        await asyncio.gather(employed.run, return_exceptions=True)
        await asyncio.sleep(self.chance.expovariate(1.0))
        self._employ()

    async def _freeze(self) -> None:
        """Past the lease, more often than not: then it writes late."""
        process = (await self._busy()).process
        frozen_s = self.chance.uniform(1.0, 2.5) * LEASE_S
        self.say(f"freeze {process.name} for {frozen_s:.1f} s")
        process.freeze()
        asyncio.get_running_loop().call_later(frozen_s, process.thaw)

    async def _jump(self) -> None:
        process = self.chance.choice(self._staff).process
        process.off_s += self.chance.choice([-3600.0, 3600.0])
        self.say(f"clock of {process.name} is off by {process.off_s:g} s")

    async def _restart(self) -> None:
        employed = await self._busy()
        self._staff.remove(employed)
        self.say(f"restart {employed.process.name}")
        employed.worker.stop()
        if self.chance.random() < 0.3:
            employed.worker.stop()
        self._employ()
        employed.run.add_done_callback(lambda _: employed.process.die())

    async def _hold(self) -> None:
        """Pause some of what there is, whole trees and parts of them; others let it go on."""
        engine = self._engine(self._process("pauser"))
        for state in (TaskState.RUNNING, TaskState.WAITING, TaskState.QUEUED):
            with suppress(StoreError):
                page = await self.store.find_tasks(Query(where={"state": state}, limit=200))
                for task in page.items:
                    if self.chance.random() < 0.3:
                        self.say(f"pause {task.id}")
                        with suppress(StoreError, InvalidTransition, NotFound):
                            await engine.pause(task.id, by="nemesis")

    async def _storm(self) -> None:
        """Cancel what there is, some of it twice."""
        asked = [order for order in self.orders if order.accepted and self.chance.random() < 0.2]
        for order in asked:
            self.say(f"cancel {order.id}")
            order.cancelled = True
            engine = self._engine(self._process("canceller"))
            for _ in range(self.chance.randint(1, 2)):
                with suppress(StoreError, InvalidTransition, NotFound):
                    await engine.cancel(order.id)
