"""One chaos run: work, faults while it lasts, calm, and the judgement."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from opspawn.config import load_settings
from opspawn.host import Host

from .faults import FAULTS, Scene, variables
from .fleet import Fleet
from .judge import Figures, judge
from .people import Operator, call_all
from .plan import FLOW, Extras, make_jobs
from .power import Power
from .workload import make_app

SETTINGS = """\
app = "{app}"
[worker]
slots = 16
poll_s = 0.1
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
_ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Cell:
    """What to run.

    Attributes:
        faults: names from `FAULTS`. tasks: how many tasks, children included, at least.
        seconds: over which the asking is spread, and how long the faults last at least; None: as fast as it goes.
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
    app = Path(__file__).with_name("workload.py")
    (folder / "opspawn.toml").write_text(SETTINGS.format(app=f"{app}:app", lease_s=cell.lease_s), encoding="utf-8")
    (folder / "flow.yaml").write_text(FLOW.replace("VERSION", "v1"), encoding="utf-8")
    jobs = make_jobs(cell.seed, cell.tasks, cell.extras)
    chance = random.Random(f"faults {cell.seed}")
    loaded = load_settings(folder / "opspawn.toml", environ={}, cwd=folder)
    fleet = Fleet(folder, cell.workers, chance)
    async with Host.open(make_app(folder), loaded=loaded, worker=False) as host:
        database = folder / ".opspawn" / "opspawn.db"
        power = Power(database, folder / "power", chance, cell.snapshots if "F12" in cell.faults else 0)
        scene = Scene(folder, host, fleet, jobs, chance, cell.lease_s, power)
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
    broken += [*found, *_integrity(database)]
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
        enough = sum(job.id is not None for job in scene.jobs) * _ENOUGH
        while await asyncio.to_thread(_count_ended, scene) < enough:
            for name, fault in faults.items():
                if fault.done():
                    raise RuntimeError(f"{name} stopped: {fault.exception()!r}")
            await asyncio.sleep(0.1)
    finally:
        asking.cancel()
        for fault in faults.values():
            fault.cancel()
        told = await asyncio.gather(*faults.values(), return_exceptions=True)
    for error in told:
        if isinstance(error, Exception):
            raise error
    scene.fleet.env = dict


async def _calm(cell: Cell, scene: Scene, broken: list[str]) -> float:
    """Wait until everything has ended; how long that took, in seconds."""
    began = time.monotonic()
    limit = cell.lease_s + 1.0 + cell.patience_s
    while left := await asyncio.to_thread(_count_open, scene):
        if time.monotonic() - began > limit:
            broken.append(f"drained: {left} tasks had not ended {limit:g} s after the last fault")
            break
        await asyncio.sleep(0.1)
    return time.monotonic() - began


def _count_ended(scene: Scene) -> int:
    marks = ", ".join("?" * len(_ENDED))
    return _count(scene, f"SELECT count(*) FROM tasks WHERE parent IS NULL AND state IN ({marks})")


def _count_open(scene: Scene) -> int:
    marks = ", ".join("?" * len(_ENDED))
    return _count(scene, f"SELECT count(*) FROM tasks WHERE state NOT IN ({marks})")


def _count(scene: Scene, query: str) -> int:
    with closing(sqlite3.connect(f"file:{scene.database}?mode=ro", uri=True, timeout=30.0)) as connection:
        found: int = connection.execute(query, _ENDED).fetchone()[0]
        return found


def _integrity(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        told = [line for (line,) in connection.execute("PRAGMA integrity_check")]
    return [] if told == ["ok"] else [f"the database is broken: {line}" for line in told[:3]]


def _refused(folder: Path) -> int:
    log = folder / "workers.log"
    if not log.exists():
        return 0
    with log.open(encoding="utf-8", errors="replace") as lines:
        return sum("is over: another worker may have it" in line for line in lines)
