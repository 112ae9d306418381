"""What goes wrong: each fault is a loop beside the work, which puts right what it broke when it is cancelled."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from opspawn.errors import InvalidTransition, StoreError
from opspawn_store_redis.ending import end

from . import network
from .people import insist
from .plan import Job
from .scene import Scene

#: Seconds between two SIGKILLs of F1.
KILL_EVERY_S = 0.5
_FROZEN = 1.3  # times the lease
_OFF_S = 3600
_CATCH_UP_S = 60.0
_EVERY_SECOND = {"cron": "* * * * * *", "overlap": "allow", "catch_up": "all", "at_most": 1000}


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
    """New workers have other code and another definition of the workflow, and lack what the others have; in the end
    they have the old code again, and all that there is.
    """
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
        scene.env["CHAOS_CODE"] = "all"
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


async def come_and_go(scene: Scene) -> None:
    """Workers are started, stopped and killed at random, and whatever waits meanwhile can say for what."""
    size = scene.fleet.size
    try:
        while True:
            await asyncio.sleep(scene.chance.uniform(0.1, 0.6))
            scene.fleet.size = scene.chance.randint(1, size + 2)
            if (member := scene.fleet.choose()) is not None:
                scene.fleet.send(member, scene.chance.choice([signal.SIGTERM, signal.SIGTERM, signal.SIGKILL]))
            accepted = [job.id for job in scene.jobs if job.id is not None]
            if accepted:
                await _ask_why(scene, scene.chance.choice(accepted))
    finally:
        scene.fleet.size = size


async def _ask_why(scene: Scene, task: str) -> None:
    try:
        told = await scene.host.why(task)
    except StoreError:
        return
    scene.count("times asked why")
    if not told.waits or not all(wait.what for wait in told.waits):
        scene.broken.append(f"why: nobody can say what task {task} ({told.handler}, {told.state}) waits for")


async def one_after_the_other(scene: Scene) -> None:
    """Any of the first nine, for a while each, by chance."""
    names = [name for name in ("F1", "F3", "F4", "F6", "F7", "F8", "F9") if scene.store in STORES.get(name, BOTH)]
    while True:
        name = scene.chance.choice(names)
        scene.count(f"times {name}")
        fault = asyncio.ensure_future(FAULTS[name][0](scene))
        try:
            await asyncio.wait({fault}, timeout=scene.chance.uniform(0.5, 3.0))
            if fault.done():
                fault.result()
        finally:
            await end((fault,))
        await asyncio.sleep(0.3)


async def tick(scene: Scene) -> None:
    """A schedule of every second, in workers whose clocks are half a minute apart, and of which some are killed."""
    await insist(lambda: scene.host.schedule("tick", "function/deep", {"depth": 0}, **_EVERY_SECOND))
    try:
        while True:
            await asyncio.sleep(scene.chance.uniform(1.0, 3.0))
            if (member := scene.fleet.choose()) is not None:
                scene.fleet.send(member, scene.chance.choice([signal.SIGKILL, signal.SIGTERM]))
    finally:
        await _catch_up(scene)
        await insist(lambda: scene.host.schedules.pause("tick"))
        scene.counts["times of a schedule"] = (await insist(lambda: scene.host.schedules.get("tick"))).fired


async def _catch_up(scene: Scene) -> None:
    """Wait until the times that passed while workers were killed have all been made up for."""
    give_up = time.monotonic() + _CATCH_UP_S
    # A file goes by the clock of whoever writes to it.
    late = timedelta(seconds=1.5 if scene.store == "redis" else 31.5)
    while True:
        status = await insist(lambda: scene.host.schedules.get("tick"))
        now = await insist(scene.host.schedules.now)
        if status.next is None or now - status.next < late:
            return
        if time.monotonic() > give_up:
            scene.broken.append(f"schedule: {now - status.next} behind, {_CATCH_UP_S:g} s after the last fault")
            return
        await asyncio.sleep(0.2)


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
    "F6": (network.kill_server, "SIGKILL to the server of the store every 3 s"),
    "F7": (network.cut, "connections cut after the commit and before its reply"),
    "F8": (network.delay, "50 to 500 ms of latency, and 1 of 100 connections reset"),
    "F9": (network.part, "a worker without the server for two leases"),
    "F10": (nothing, "workers whose clocks are an hour off"),
    "F11": (fill_disk, "disks that are full for a while"),
    "F12": (lose_power, "power failures: the log cut anywhere behind its last fsync"),
    "F14": (network.wipe, "all keys of arq deleted, over and over"),
    "F15": (network.ring_too_often, "doorbells ten times, and in another order"),
    "F16": (nothing, "poison among good tasks"),
    "F17": (tick, "a schedule of every second, workers whose clocks are 30 s apart and some of which are killed"),
    "F18": (change_code, "code and workflow changed in the middle of runs, two versions side by side"),
    "F19": (storm, "storms of cancels that race with ends"),
    "F20": (nothing, "a wide fan-out, a deep chain, large values"),
    "F21": (checkpoint, "forced checkpoints"),
    "F22": (one_after_the_other, "any of F1 to F9 by chance, one after the other"),
    "F23": (come_and_go, "workers started, stopped and killed at random"),
}
BOTH = frozenset({"sqlite", "redis"})
#: The stores of those faults that not all stores can meet.
STORES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("F6", "F7", "F8", "F9", "F14", "F15"), frozenset({"redis"})),
    **dict.fromkeys(("F11", "F12", "F21"), frozenset({"sqlite"})),
}
#: Those for which workers reach the server through proxies.
PROXIED = frozenset({"F7", "F8", "F9", "F22"})


def variables(faults: set[str], scene: Scene) -> dict[str, str]:
    """The variables of a new worker."""
    env = {**scene.env, **scene.place.variables()}
    if "F2" in faults and scene.chance.random() < 0.5:
        env["CHAOS_DIE"] = "0.02"
    # So that a worker has something in hand while it cannot go on. Not where workers are killed all the time: a good
    # task that loses eight claims in a row without a finished step is taken for poison, as it should be.
    if faults & {"F3", "F11"} and "F1" not in faults:
        env["CHAOS_SLOW_S"] = "0.25"
    if "F18" in faults:
        env.setdefault("CHAOS_CODE", "1")
    if "F17" in faults:
        env["CHAOS_OFF_S"] = str(scene.chance.choice([-15, 15]))
    if "F10" in faults:
        env["CHAOS_OFF_S"] = str(scene.chance.choice([-_OFF_S, 0, _OFF_S]))
    return env
