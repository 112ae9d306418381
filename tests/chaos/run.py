"""One chaos run: work, faults while it lasts, calm, and the judgement."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from opspawn.config import load_settings
from opspawn.contracts.store import EventQuery, Query
from opspawn.host import Host
from opspawn_store_redis.ending import end

from .faults import FAULTS, PROXIED, variables
from .fleet import Fleet
from .judge import Figures, judge
from .namespaces import NotAllowed
from .people import Operator, call_all, insist
from .places import RedisPlace, SqlitePlace, open_place
from .plan import FLOW, Extras, make_jobs
from .power import Power
from .scene import Scene
from .workload import make_app

SETTINGS = """\
app = "{app}"
{store}
[worker]
slots = 16
poll_s = {poll_s}
lease_s = {lease_s}
drain_s = 5
[logs]
level = "warning"
format = "json"
"""
#: The faults end when so much of the work is done.
_ENOUGH = 0.97
#: How long what is left may take after the last fault, beyond a lease and a look of every worker, in seconds.
PATIENCE_S = 60.0
_ENDS = ("task.succeeded", "task.failed", "task.cancelled")
_OPEN = ("queued", "running", "waiting", "paused", "in_doubt")


@dataclass(frozen=True, slots=True)
class Cell:
    """What to run.

    Attributes:
        faults: names from `FAULTS`. tasks: how many tasks, children included, at least.
        seconds: over which the asking is spread, and how long the faults last at least; None: as fast as it goes.
        networks: whether F9 alone parts workers by networks of their own, where root allows, and not by proxies.
        longest_s: how long the faults last at most, in seconds, once all was asked for, however slow the machine is.
    """

    faults: frozenset[str]
    tasks: int
    workers: int = 4
    seconds: float | None = None
    seed: int = 0
    lease_s: float = 2.0
    extras: Extras = field(default_factory=Extras)
    snapshots: int = 10
    patience_s: float = PATIENCE_S
    store: str = "sqlite"
    networks: bool = False
    longest_s: float | None = None


@dataclass(slots=True)
class Outcome:
    """What came of it; `broken` are the promises that were not kept, in sentences."""

    cell: Cell
    figures: Figures
    counts: dict[str, int]
    broken: list[str]
    storm_s: float
    drain_s: float
    refused: int

    def lines(self) -> list[str]:
        """The summary, for people."""
        told = self.figures
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(told.states.items()))
        found = [
            f"{told.tasks:,} tasks with {told.events:,} events: {states}",
            f"{told.claims:,} claims, {told.lost:,} of them after a lost one; {told.attempts:,} attempts failed, "
            f"{told.doubts:,} doubts, {told.mismatches:,} mismatches, {self.refused:,} late writes refused",
        ]
        if self.counts:
            found.append(", ".join(f"{count:,} {what}" for what, count in sorted(self.counts.items())))
        if told.lacking:
            found.append(f"{told.lacking:,} tasks given back by a worker that lacked what they need")
        if told.opened:
            found.append(f"{told.opened} disks opened after a power failure")
        found.append(f"faults for {self.storm_s:.1f} s, then drained in {self.drain_s:.1f} s")
        if not self.broken:
            return [*found, "no promise was broken"]
        shown = [f"  {line}" for line in self.broken[:20]]
        more = [f"  and {len(self.broken) - 20} more"] if len(self.broken) > 20 else []
        return [*found, f"{len(self.broken)} promises were broken (seed {self.cell.seed}):", *shown, *more]


async def run(cell: Cell, folder: Path) -> Outcome:
    """Run a cell in an empty folder on a real disk."""
    if cell.networks and cell.store == "redis" and cell.faults == {"F9"}:
        with suppress(NotAllowed):  # then proxies do
            async with open_place(cell.store, folder, networks=cell.workers) as place:
                return await _run(cell, folder, place)
    proxies = cell.workers if cell.store == "redis" and cell.faults & PROXIED else 0
    async with open_place(cell.store, folder, proxies) as place:
        return await _run(cell, folder, place)


async def _run(cell: Cell, folder: Path, place: SqlitePlace | RedisPlace) -> Outcome:
    app = Path(__file__).with_name("workload.py")
    settings = SETTINGS.format(app=f"{app}:app", lease_s=cell.lease_s, store=_top(place), poll_s=place.poll_s)
    (folder / "opspawn.toml").write_text(settings + _tables(place), encoding="utf-8")
    (folder / "flow.yaml").write_text(FLOW.replace("VERSION", "v1"), encoding="utf-8")
    jobs = make_jobs(cell.seed, cell.tasks, cell.extras)
    chance = random.Random(f"faults {cell.seed}")
    loaded = load_settings(folder / "opspawn.toml", environ={}, cwd=folder)
    fleet = Fleet(folder, cell.workers, chance)
    async with Host.open(make_app(folder), loaded=loaded, worker=False) as host:
        power = Power(
            folder / ".opspawn" / "opspawn.db", folder / "power", chance, cell.snapshots if "F12" in cell.faults else 0
        )
        scene = Scene(folder, host, fleet, jobs, chance, cell.lease_s, power, place)
        fleet.env = lambda: variables(set(cell.faults), scene)
        operator = Operator(host, folder)
        broken: list[str] = []
        async with fleet:
            operating = asyncio.create_task(operator.work())
            began = time.monotonic()
            await _storm(cell, scene, broken)
            storm_s = time.monotonic() - began
            drain_s = await _calm(cell, scene, broken)
            if not await fleet.stop(drain_s=5.0):
                broken.append("a worker did not stop when it was told to")
            operating.cancel()
            await asyncio.gather(operating, return_exceptions=True)
        figures, found = await judge(host.store, folder, jobs, cell.faults, operator, power)
        broken += [*found, *scene.broken, *place.broken(host)]
    counts = dict(Counter(scene.counts) + Counter(fleet.signals))
    if (died := sum(code == -9 for _, code in fleet.ends.values()) - fleet.signals.get("SIGKILL", 0)) > 0:
        counts["workers died by themselves"] = died
    return Outcome(cell, figures, counts, broken, storm_s, drain_s, _refused(folder))


async def _storm(cell: Cell, scene: Scene, broken: list[str]) -> None:
    """Ask for everything while things go wrong; return when it is calm again."""
    asking = asyncio.create_task(call_all(scene.host, scene.jobs, cell.seconds))
    faults = {name: asyncio.ensure_future(FAULTS[name][0](scene)) for name in sorted(cell.faults)}
    try:
        broken += await asking
        ends = _Ends(scene)
        over = math.inf if cell.longest_s is None else time.monotonic() + cell.longest_s
        while await ends.count() < len(ends.jobs) * _ENOUGH and time.monotonic() < over:
            for name, fault in faults.items():
                if fault.done():
                    raise RuntimeError(f"{name} stopped: {fault.exception()!r}")
            await asyncio.sleep(0.1)
    finally:
        asking.cancel()
        await end(faults.values())  # a client of Redis may swallow one cancellation
    for fault in faults.values():
        if not fault.cancelled() and isinstance(error := fault.exception(), Exception):
            raise error
    scene.fleet.env = dict


async def _calm(cell: Cell, scene: Scene, broken: list[str]) -> float:
    """Wait until everything has ended; how long that took, in seconds."""
    began = time.monotonic()
    limit = cell.lease_s + 1.0 + cell.patience_s
    while left := await insist(lambda: _count_open(scene)):
        if time.monotonic() - began > limit:
            broken.append(f"drained: {left} tasks or more had not ended {limit:g} s after the last fault")
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began


class _Ends:
    """Counts those that were asked for and have ended, by their events."""

    def __init__(self, scene: Scene) -> None:
        self._store = scene.host.store
        self._position = 0
        self._ended: set[str] = set()
        self.jobs = {job.id for job in scene.jobs if job.id is not None}

    async def count(self) -> int:
        """How many so far."""
        while events := await insist(lambda: self._store.events(self._next())):
            self._position = events[-1].position
            self._ended |= self.jobs & {event.task for event in events if event.task is not None}
        return len(self._ended)

    def _next(self) -> EventQuery:
        return EventQuery(types=_ENDS, position=self._position, limit=1000)


async def _count_open(scene: Scene) -> int:
    """How many have not ended, up to two hundred of each state; none only if each has been seen ended."""
    pages = [await scene.host.store.find_tasks(Query({"state": state}, limit=200)) for state in _OPEN]
    if found := sum(len(page.items) for page in pages):
        return found
    page = await scene.host.store.find_tasks(Query(limit=200))
    while True:  # one that changed its state between two of those questions was in no answer
        if found := sum(not task.state.terminal for task in page.items):
            return found
        if page.cursor is None:
            return 0
        page = await scene.host.store.find_tasks(Query(limit=200, cursor=page.cursor))


def _top(place: SqlitePlace | RedisPlace) -> str:
    return place.settings.partition("[")[0].rstrip()


def _tables(place: SqlitePlace | RedisPlace) -> str:
    _, bracket, tables = place.settings.partition("[")
    return bracket + tables


def _refused(folder: Path) -> int:
    log = folder / "workers.log"
    if not log.exists():
        return 0
    with log.open(encoding="utf-8", errors="replace") as lines:
        return sum("is over: another worker may have it" in line for line in lines)
