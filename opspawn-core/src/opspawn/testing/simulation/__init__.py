"""The simulator: whole worlds in virtual time, decided by a seed, in which everything goes wrong.

    report = simulate(42)                   # one world; the same seed lives the same way
    python -m opspawn.testing.simulation --seeds 500

Workers crash, freeze past their leases and go on, are restarted, and their clocks jump; the store is slow, refuses, and
loses replies; doorbells are lost and doubled; callers cancel in storms, and pause whole trees; people answer late and
say everything twice. Then all is calm: everything must end in
bounded time, as it would have ended undisturbed, and the store must hold what is promised.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loguru import logger

from opspawn.contracts.clock import Clock
from opspawn.contracts.events import Event
from opspawn.contracts.store import Store, Task
from opspawn.testing.invariants import find_violations, read_everything
from opspawn.testing.simulation.clerks import check_sessions
from opspawn.testing.simulation.programs import RATE, RATES, Failed, expected
from opspawn.testing.simulation.world import LEASE_S, STORM_S, Order, World
from opspawn.testing.store_model import ModelStore
from opspawn.testing.virtual import VirtualClock

__all__ = ["Report", "simulate"]


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a world.

    Attributes:
        seed: makes the same world again. broken: what was not as promised, a sentence each; empty if all is well.
        tasks, events, faults: how much there was. passed_s: how much virtual time.
        trace: what went wrong and what was journaled, in order, a line each.
    """

    seed: int
    broken: Sequence[str]
    tasks: int
    events: int
    faults: int
    passed_s: float
    trace: Sequence[str]


def _model(clock: Clock) -> Store:
    return ModelStore(now=clock.time)


def simulate(seed: int, open_store: Callable[[Clock], Store] = _model, *, storm_s: float = STORM_S) -> Report:
    """Live through the world of a seed.

    Args:
        open_store: gives a store in memory that does everything at once, in the event loop.
        storm_s: how long things go wrong, in virtual seconds; there are tasks in proportion.
    """
    before = random.getstate()
    random.seed(seed)  # backoffs and heartbeats are jittered by it
    logger.disable("opspawn")
    try:
        clock = VirtualClock()
        with asyncio.Runner(loop_factory=lambda: clock.new_loop(random.Random(seed))) as runner:
            return runner.run(_simulate(seed, clock, open_store(clock), storm_s))
    finally:
        random.setstate(before)
        logger.enable("opspawn")


async def _simulate(seed: int, clock: VirtualClock, store: Store, storm_s: float) -> Report:
    said: list[tuple[float, str]] = []
    world = World(clock, store, random.Random(seed), lambda line: said.append((clock.time(), line)), storm_s)
    drained = await world.live()
    sessions = await world.sessions() if drained else []
    tasks, events = await read_everything(store)
    await store.aclose()
    broken = [] if drained else ["not everything ended after the storm"]
    accepted = [order.id for order in world.orders if order.accepted]
    found = find_violations(tasks, events, accepted=accepted, drained=True, lease_s=LEASE_S)
    broken += [str(violation) for violation in found]
    broken += _outcomes(world.orders, {task.id: task for task in tasks})
    broken += _effects(world)
    broken += _rates(events)
    broken += check_sessions(world.files, sessions, events)
    return Report(seed, broken, len(tasks), len(events), world.faults, clock.monotonic(), _trace(said, events))


def _outcomes(orders: Sequence[Order], tasks: dict[str, Task]) -> Iterator[str]:
    """Everything ends as it would have ended undisturbed, or by a request to cancel."""
    for order in orders:
        task = tasks.get(order.id)
        if task is None or (order.cancelled and task.state == "cancelled"):
            continue
        try:
            wanted = ("succeeded", expected(order.program))
        except Failed:
            wanted = ("failed", None)  # type: ignore[assignment]
        if (str(task.state), task.result) != wanted:
            yield f"task {task.id} is {task.state} with {task.result} ({task.error}) instead of {wanted}"


def _effects(world: World) -> Iterator[str]:
    once = world.once
    for key, began in world.outside.began.items():
        if key in once and began > 1 + world.again.get(key, 0):
            yield f"the once effect {key} began {began} times, and {world.again.get(key, 0)} decisions allowed it"


def _rates(events: Sequence[Event]) -> Iterator[str]:
    """However many took at the same time, and whatever they did not hear of: no more than the bucket held."""
    [take] = RATES.of(RATE, 1)
    level, last = take.burst, None
    for event in events:
        if event.type != "step.done" or event.data.get("kind") != "take":
            continue
        level = (
            take.burst if last is None else min(take.burst, level + (event.time - last).total_seconds() * take.per_s)
        )
        level, last = level - 1, event.time
        if level < -1e-3:
            yield f"the rate {RATE!r} was taken too often, at {event.position}"
            return


def _trace(said: Sequence[tuple[float, str]], events: Sequence[Event]) -> list[str]:
    lines = [(when, 1, f"-- {line}") for when, line in said]
    for event in events:
        lines.append((event.time.timestamp(), 0, f"{event.position} {event.task} {event.type} {event.data}"))
    start = min((when for when, _, _ in lines), default=0.0)
    return [f"{when - start:10.3f} {line}" for when, _, line in sorted(lines)]
