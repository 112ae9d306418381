"""Whether a server is fit to be the store, and what an operator should know of it: reads, and never mends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.store import Finding
from opspawn.errors import StoreError, StoreUnusable
from opspawn_store_redis.settings import RedisConfig

_OLDEST = (7, 0)
_OLDEST_VALKEY = (8, 0)
JUDGE = "Compare with the outside what was done since, then say `opspawn store acknowledge`."
_WORST_FIRST = ("error", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Server:
    """What a server tells of itself; `fsync` is None where it may not be asked."""

    kind: str
    version: str
    info: dict[str, str]
    fsync: str | None

    @property
    def aof(self) -> bool:
        """Whether writes are logged."""
        return self.info.get("aof_enabled") == "1"


async def ask(command: Callable[..., Any]) -> Server:
    """Ask a server about itself. Raises: StoreError."""
    raw = await command("INFO", "everything")
    info = raw if isinstance(raw, dict) else _parsed(raw)
    info = {str(name): str(value) for name, value in info.items()}
    valkey = info.get("valkey_version")
    try:
        answer = await command("CONFIG", "GET", "appendfsync")
    except StoreError:  # managed servers do not let everybody ask
        fsync = None
    else:
        fsync = _setting(answer)
    return Server("Valkey" if valkey else "Redis", valkey or info.get("redis_version", "0"), info, fsync)


def _parsed(raw: bytes | str) -> dict[str, str]:
    text = raw.decode() if isinstance(raw, bytes) else raw
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def _setting(answer: Any) -> str | None:
    if isinstance(answer, dict):
        answer = [part for item in answer.items() for part in item]
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in answer]
    return words[1] if len(words) > 1 else None


def refuse_unfit(server: Server, config: RedisConfig, where: str) -> None:
    """Raises: StoreUnusable: the server cannot keep what the settings promise; with all that is to be changed."""
    found = (*_kind(server), *_eviction(server), *_durability(server, config))
    faults = [finding for finding in found if finding.level == "error"]
    if faults:
        remedies = " ".join(finding.remedy for finding in faults if finding.remedy)
        raise StoreUnusable(f"{where}: {' '.join(finding.what for finding in faults)}", remedy=remedies)


def findings(server: Server, config: RedisConfig, alarm: str | None) -> list[Finding]:
    """The findings on a server, worst first."""
    found = [*_alarm(alarm), *_kind(server), *_eviction(server), *_durability(server, config), *_disk(server)]
    found += [*_memory(server), *_replicas(server, config)]
    return worst_first(found)


def worst_first(found: Iterable[Finding]) -> list[Finding]:
    """Findings as an operator reads them."""
    return sorted(found, key=lambda finding: _WORST_FIRST.index(finding.level))


def _alarm(alarm: str | None) -> Iterator[Finding]:
    if alarm is not None:
        yield Finding("error", alarm, JUDGE)


def _kind(server: Server) -> Iterator[Finding]:
    version = tuple(map(int, re.findall(r"\d+", server.version)[:2]))
    oldest = _OLDEST_VALKEY if server.kind == "Valkey" else _OLDEST
    if version < oldest:
        yield Finding(
            "error",
            f"{server.kind} {server.version} is too old.",
            f"Use {server.kind} {oldest[0]}.{oldest[1]} or newer.",
        )
    elif server.info.get("cluster_enabled") == "1":
        yield Finding(
            "error", "The server is part of a cluster.", "Use one server, with replicas and Sentinel if need be."
        )
    elif server.info.get("role") == "slave":
        yield Finding("error", "The server is a replica.", "Give the url of the master, or name Sentinels.")
    else:
        yield Finding("ok", f"{server.kind} {server.version}.")


def _eviction(server: Server) -> Iterator[Finding]:
    policy = server.info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        yield Finding("ok", "Nothing is evicted (maxmemory-policy noeviction).")
    else:
        yield Finding(
            "error",
            f"The server may evict what it should keep (maxmemory-policy {policy}).",
            "Set `maxmemory-policy noeviction`, or use a server that is no cache.",
        )


def _durability(server: Server, config: RedisConfig) -> Iterator[Finding]:
    asked = config.durability
    if asked == "none":
        yield Finding(
            "warning",
            'A crash of the server may take everything since its last snapshot (durability = "none").',
            'Set durability = "everysec" in [plugins.redis], and `appendonly yes` in the server, if that matters.',
        )
    elif not server.aof:
        yield Finding(
            "error",
            f'The server keeps no log of what is written (appendonly no), and durability is "{asked}".',
            'Set `appendonly yes` in the server, or durability = "none" in [plugins.redis] to do without.',
        )
    elif server.fsync is None:
        yield Finding(
            "warning",
            f'The server does not tell its appendfsync, and durability is "{asked}".',
            "Allow CONFIG GET to this user, or make sure of it by other means.",
        )
    elif server.fsync == "no" or (asked == "always" and server.fsync != "always"):
        wanted = "always" if asked == "always" else "everysec"
        yield Finding(
            "error",
            f'The server has appendfsync {server.fsync}, and durability is "{asked}".',
            f"Set `appendfsync {wanted}` in the server, or another durability in [plugins.redis].",
        )
    else:
        may_take = "nothing" if server.fsync == "always" else "about the last second"
        yield Finding("ok", f"A crash of the server takes {may_take} (appendfsync {server.fsync}).")


def _disk(server: Server) -> Iterator[Finding]:
    for name, what in (("aof_last_write_status", "log"), ("rdb_last_bgsave_status", "snapshot")):
        if server.info.get(name, "ok") != "ok":
            yield Finding("error", f"The server could not write its {what}.", "Free space on its disk; see its log.")


def _memory(server: Server) -> Iterator[Finding]:
    used, most = int(server.info.get("used_memory", 0)), int(server.info.get("maxmemory", 0))
    words = f"{used / (1 << 20):.0f} MiB of memory are used"
    if most and used > 0.9 * most:
        yield Finding("error", f"{words}, of {most / (1 << 20):.0f}.", "Raise maxmemory before it is full.")
    elif most and used > 0.7 * most:
        yield Finding("warning", f"{words}, of {most / (1 << 20):.0f}.", "Raise maxmemory, or set [retention].")
    else:
        yield Finding("ok", f"{words}.")


def _replicas(server: Server, config: RedisConfig) -> Iterator[Finding]:
    there = int(server.info.get("connected_slaves", 0))
    if there < config.ack_replicas:
        yield Finding(
            "warning",
            f"{there} replicas are connected, and ack_replicas is {config.ack_replicas}: every commit waits in vain.",
            "Start the replicas, or lower ack_replicas in [plugins.redis].",
        )
    elif there:
        wanted = [] if config.ack_replicas else ["ack_replicas = 1 in [plugins.redis]"]
        if "min_slaves_good_slaves" not in server.info:  # it is told where that is set
            wanted.append("`min-replicas-to-write 1` in the server")
        yield Finding(
            "warning",
            "After a fail-over the last writes may be gone: replicas get them after the caller has its answer.",
            f"Set {' and '.join(wanted)} to lose less; it is no guarantee." if wanted else None,
        )
