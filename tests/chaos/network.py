"""What goes wrong between workers and a server, and with the server; faults as in `faults`."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from opspawn_store_redis.doorbells import FUNCTION, ArqWaker

from .places import RedisPlace
from .scene import Scene

_KILL_EVERY_S = 3.0
_PARTED = 2.0  # times the lease


def _place(scene: Scene) -> RedisPlace:
    assert isinstance(scene.place, RedisPlace)
    return scene.place


async def kill_server(scene: Scene) -> None:
    """SIGKILL to the server every three seconds; it is back at once, or after a moment."""
    await asyncio.sleep(scene.chance.uniform(0.3, 1.0))
    while True:
        scene.count("kills of the server")
        await _place(scene).restart(scene.chance.choice([0.0, 0.3]))
        await asyncio.sleep(_KILL_EVERY_S)


async def cut(scene: Scene) -> None:
    """Replies are lost after the command was applied."""
    proxies = _place(scene).proxies
    before = sum(proxy.cut for proxy in proxies)
    try:
        for proxy in proxies:
            proxy.cut_chance = 0.02
        await asyncio.Event().wait()
    finally:
        for proxy in proxies:
            proxy.cut_chance = 0.0
        scene.counts["lost replies"] = sum(proxy.cut for proxy in proxies) - before


async def delay(scene: Scene) -> None:
    """Every reply comes 50 to 500 ms late, and one of a hundred not at all."""
    try:
        for proxy in _place(scene).proxies:
            proxy.delay_s, proxy.jitter_s, proxy.cut_chance = 0.05, 0.45, 0.01
        await asyncio.Event().wait()
    finally:
        for proxy in _place(scene).proxies:
            proxy.delay_s = proxy.jitter_s = proxy.cut_chance = 0.0


async def part(scene: Scene) -> None:
    """One worker hears and says nothing for two leases, with its connections open."""
    place = _place(scene)
    while True:
        await asyncio.sleep(scene.chance.uniform(0.2, 0.6) * scene.lease_s)
        async with place.parted(scene.chance):
            scene.count("partitions of a network" if place.networks else "partitions")
            await asyncio.sleep(_PARTED * scene.lease_s)


async def wipe(scene: Scene) -> None:
    """All that arq keeps is deleted, over and over, with the hints."""
    async with _place(scene).client() as client:
        while True:
            await asyncio.sleep(scene.chance.uniform(0.3, 2.0))
            keys = [key for pattern in ("arq:*", "osp:*:wake:*") for key in await client.keys(pattern)]
            if keys:
                await client.delete(*keys)
            scene.count("wipes of arq's keys")


async def ring_too_often(scene: Scene) -> None:
    """Doorbells come ten times, in another order and for nothing."""
    waker = ArqWaker(_place(scene).arq)
    try:
        while True:
            await asyncio.sleep(0.1)
            for _ in range(10):
                later = scene.chance.uniform(0.0, 0.3)
                await waker._arq.enqueue_job(FUNCTION, "default", _job_id=uuid4().hex, _defer_by=later, _expires=60)
                await waker.send(scene.chance.choice(["default", "nobody's"]))
            scene.count("times ten doorbells too many")
    finally:
        await waker.aclose()
