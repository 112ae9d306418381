"""What goes wrong: each fault is a loop beside the work, which puts right what it broke when it is cancelled."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import resource
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from opspawn.errors import InvalidTransition, StoreError
from opspawn.host import Host

from .fleet import Fleet
from .plan import Job
from .power import Power

#: Seconds between two SIGKILLs of F1.
KILL_EVERY_S = 0.5
_FROZEN = 1.3  # times the lease
_OFF_S = 3600


@dataclass(slots=True)
class Scene:
    """Everything that a fault may touch. `env` are variables of new workers."""

    folder: Path
    host: Host
    fleet: Fleet
    jobs: list[Job]
    chance: random.Random
    lease_s: float
    power: Power
    rounds: int = 5
    env: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / ".opspawn" / "opspawn.db"

    def count(self, what: str) -> None:
        """One more of something that the summary tells."""
        self.counts[what] = self.counts.get(what, 0) + 1


async def kill(scene: Scene) -> None:
    """SIGKILL to a worker every half second."""
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        if (member := scene.fleet.choose()) is not None:
            scene.fleet.send(member, signal.SIGKILL)


async def freeze(scene: Scene) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT: a late writer."""
    while True:
        await asyncio.sleep(scene.chance.uniform(0.2, 0.6) * scene.lease_s)
        member = scene.fleet.choose()
        if member is None:
            continue
        member.busy = True
        scene.fleet.send(member, signal.SIGSTOP)
        try:
            await asyncio.sleep(_FROZEN * scene.lease_s)
        finally:
            scene.fleet.send(member, signal.SIGCONT)
            member.busy = False


async def roll(scene: Scene) -> None:
    """SIGTERM to one worker after the other, some rounds."""
    for _ in range(scene.rounds):
        await asyncio.sleep(scene.chance.uniform(0.1, 0.5))
        for member in list(scene.fleet.members.values()):
            if member.busy or member.pid not in scene.fleet.members:
                continue
            member.busy = True
            scene.fleet.send(member, signal.SIGTERM)
            if not await scene.fleet.gone(member):
                scene.count("workers that did not stop")
                scene.fleet.send(member, signal.SIGKILL)
        scene.count("rolling restarts")
    await asyncio.Event().wait()


async def fill_disk(scene: Scene) -> None:
    """A worker's files may not grow for some time, so that its writes fail as on a full disk."""
    while True:
        await asyncio.sleep(scene.chance.uniform(0.1, 0.5))
        member = scene.fleet.choose()
        if member is None:
            continue
        member.busy = True
        scene.count("full disks")
        try:
            _limit(member.pid, scene.chance.choice([0, 4096, 65536]))
            await asyncio.sleep(scene.chance.uniform(0.3, 1.0) * scene.lease_s)
        finally:
            _limit(member.pid, resource.RLIM_INFINITY)
            member.busy = False


def _limit(pid: int, size: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    except ProcessLookupError:
        return  # it died meanwhile


async def lose_power(scene: Scene) -> None:
    """Keep what the disk holds at some instants, for the check at the end."""
    while True:
        await asyncio.sleep(scene.chance.uniform(0.2, 0.8))
        if scene.power.wanted:
            await scene.power.snapshot({job.id for job in scene.jobs if job.id is not None})
            scene.count("snapshots")


async def change_code(scene: Scene) -> None:
    """New workers have other code and another definition of the workflow; in the end they have the old code again."""
    flow = scene.folder / "flow.yaml"
    first = flow.read_text(encoding="utf-8")
    version = 1
    try:
        while True:
            await asyncio.sleep(1.5)
            version += 1
            flow.write_text(first.replace("v1", f"v{version}"), encoding="utf-8")
            scene.env["CHAOS_CODE"] = "2" if version % 2 == 0 else "1"
            scene.count("changes of the code")
            await _replace_half(scene)
    finally:
        scene.env.pop("CHAOS_CODE", None)
        flow.write_text(first, encoding="utf-8")
        for member in list(scene.fleet.members.values()):
            scene.fleet.send(member, signal.SIGTERM)


async def _replace_half(scene: Scene) -> None:
    members = list(scene.fleet.members.values())
    for member in members[: (len(members) + 1) // 2]:
        if not member.busy:
            scene.fleet.send(member, signal.SIGTERM)


async def storm(scene: Scene) -> None:
    """Ask for the end of many tasks at once, some of them twice, while they end by themselves."""
    asked: set[str] = set()
    while True:
        await asyncio.sleep(0.3)
        fresh = [job for job in scene.jobs if job.id is not None and job.id not in asked]
        chosen = [job for job in fresh if scene.chance.random() < 0.2]
        asked |= {job.id for job in fresh if job.id is not None}
        await asyncio.gather(*(_cancel(scene, job) for job in chosen))


async def _cancel(scene: Scene, job: Job) -> None:
    await asyncio.sleep(scene.chance.uniform(0.0, 0.5))
    assert job.id is not None
    for _ in range(scene.chance.randint(1, 2)):
        job.cancelled = True
        scene.count("cancels")
        try:
            await scene.host.cancel(job.id)
        except (InvalidTransition, StoreError):
            return  # it has ended


async def checkpoint(scene: Scene) -> None:
    """Move the whole log into the database, over and over, as an operator might, under the lock that ADR 0013 asks."""
    while True:
        await asyncio.sleep(0.1)
        await asyncio.to_thread(_checkpoint, scene)


def _checkpoint(scene: Scene) -> None:
    lock = os.open(f"{scene.database}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    connection = sqlite3.connect(scene.database, timeout=1.0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        scene.count("forced checkpoints")
    finally:
        connection.close()  # under the lock, since the last one to close checkpoints, too
        os.close(lock)


async def nothing(scene: Scene) -> None:
    """The fault is in the work itself, or in the variables of the workers."""
    await asyncio.Event().wait()


#: What happens, and in words.
FAULTS: dict[str, tuple[Callable[[Scene], Awaitable[None]], str]] = {
    "F1": (kill, "SIGKILL to a worker every 0.5 s"),
    "F2": (nothing, "SIGKILL between an effect and the record of its result"),
    "F3": (freeze, "SIGSTOP for 1.3 leases, then SIGCONT"),
    "F4": (roll, "SIGTERM to each worker in turn, five rounds"),
    "F5": (nothing, "code that blocks the event loop for two leases"),
    "F10": (nothing, "workers whose clocks are an hour off"),
    "F11": (fill_disk, "disks that are full for a while"),
    "F12": (lose_power, "power failures: the log cut anywhere behind its last fsync"),
    "F16": (nothing, "poison among good tasks"),
    "F18": (change_code, "code and workflow changed in the middle of runs"),
    "F19": (storm, "storms of cancels that race with ends"),
    "F20": (nothing, "a wide fan-out, a deep chain, large values"),
    "F21": (checkpoint, "forced checkpoints"),
}


def variables(faults: set[str], scene: Scene) -> dict[str, str]:
    """The variables of a new worker."""
    env = dict(scene.env)
    if "F2" in faults and scene.chance.random() < 0.5:
        env["CHAOS_DIE"] = "0.02"
    # So that a worker has something in hand while it cannot go on. Not where workers are killed all the time: a good
    # task that loses eight claims in a row without a finished step is taken for poison, as it should be.
    if faults & {"F3", "F11"} and "F1" not in faults:
        env["CHAOS_SLOW_S"] = "0.25"
    if "F10" in faults:
        env["CHAOS_OFF_S"] = str(scene.chance.choice([-_OFF_S, 0, _OFF_S]))
    return env
