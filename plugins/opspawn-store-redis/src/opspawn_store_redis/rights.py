"""What the user may do on a server, asked before anything is written: where a function lacks a right in the midst of
its writes, what came before stands, since a server takes nothing back.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from opspawn.contracts.store import Finding
from opspawn.errors import StoreUnusable
from opspawn_store_redis import connections, functions
from opspawn_store_redis.calls import Calls
from opspawn_store_redis.faults import ALLOWED
from opspawn_store_redis.settings import RedisConfig

_WORDS = {"TIME": "", "PUBSUB": "NUMSUB @", "MSET": "@ 1", "XADD": "@ 1 1 1"}
#: Commands that take more words than a key: a server may refuse to judge one that lacks some.
_TWO = "HDEL HGET HMGET LPUSH PEXPIRE PUBLISH RPUSH SADD SET SREM XDEL ZREM ZSCORE"
_THREE = "HINCRBY HSET LRANGE XRANGE XREVRANGE ZADD ZCOUNT ZRANGE ZRANGEBYSCORE ZREMRANGEBYSCORE ZREVRANGEBYSCORE"
_WORDS |= dict.fromkeys(_TWO.split(), "@ 1") | dict.fromkeys(_THREE.split(), "@ 1 1")
#: What is done outside of functions.
_BESIDE = ("XREAD STREAMS @ 0",)
_REMEDY = f'Allow it "{ALLOWED}".'


@cache
def used() -> tuple[str, ...]:
    """The commands of all functions, each with further words, as `rights` takes them."""
    names = sorted(set(re.findall(r"(?:\(|= )'([A-Z]{3,})'", functions.library())))
    return tuple(f"{name} {_WORDS.get(name, '@')}" for name in names)


async def _lacking(calls: Calls, *commands: str) -> list[str]:
    answer: list[Any] = await calls.read("rights", *commands)
    return [name.decode() for name in answer]


async def refuse_lacking(calls: Calls) -> None:
    """Raises: StoreUnusable: the user may not do all that it takes; with what is lacking. StoreError."""
    config = calls.config
    acks = ("WAIT 1 1",) if config.ack_replicas else ()
    if names := await _lacking(calls, *used(), *_BESIDE, *acks):
        raise StoreUnusable(f"{_may_not(config, names)}.", remedy=_REMEDY)


async def findings(calls: Calls) -> list[Finding]:
    """What an operator should know of the user's rights. Raises: StoreError."""
    try:
        await refuse_lacking(calls)
    except StoreUnusable as error:
        return [Finding("error", error.message, error.remedy)]
    if names := await _lacking(calls, "SUBSCRIBE @"):
        then = "a worker hears of work later, and no tokens are streamed from other processes."
        return [Finding("warning", f"{_may_not(calls.config, names)}: {then}", _REMEDY)]
    return []


def _may_not(config: RedisConfig, names: list[str]) -> str:
    where = f"the keys and channels osp:{{{config.namespace}}}:*"
    return f"The user of {connections.shown(config)} may not do this on {where}: {', '.join(names)}"
