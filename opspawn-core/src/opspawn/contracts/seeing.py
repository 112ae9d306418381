"""What is seen of a running system: the workers that there are, and what a task waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as it last told of itself, and how busy it is now.

    Attributes:
        handlers: what it runs, e.g. "agent/helper"; at most the first `MAX_HANDLERS`, and `more_handlers` says how many
            are not listed.
        running: how many tasks it has claimed and not ended; as it last told, while more than 1000 run in all.
        draining: whether it stops, and takes nothing new.
        seen: when it told of itself, by the store's clock. every_s: how often it does, in seconds.
    """

    id: str
    host: str
    pid: int
    version: str
    queues: Sequence[str]
    handlers: Sequence[str]
    slots: int
    running: int
    draining: bool
    started: datetime | None
    seen: datetime
    every_s: float
    more_handlers: int = 0

    def alive(self, now: datetime) -> bool:
        """Whether it told of itself within the last four times that it should have."""
        return now - self.seen <= timedelta(seconds=4 * self.every_s)

    def offers(self, queue: str, handler: str) -> bool:
        """Whether it takes such tasks; of one that lists not all of its handlers, whether it may."""
        return queue in self.queues and (handler in self.handlers or self.more_handlers > 0)


MAX_HANDLERS = 500


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that a task waits for.

    Attributes:
        kind: "ended", "running", "lost" (its worker is gone), "delay", "backoff", "timer", "limit", "rate", "lane",
            "worker", "slots", "generation", "turn", "children", "fallback", "signal", "question", "doubt", "paused",
            "news".
        what: a sentence. until: when it ends by itself, if it does. remedy: what one can do about it.
        details: the same in data: ids, keys, counts; camelCase.
    """

    kind: str
    what: str
    until: datetime | None = None
    remedy: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Why:
    """What a task waits for, the most telling first; of one that has ended or runs, that."""

    task: str
    handler: str
    state: str
    waits: Sequence[Wait]


@dataclass(slots=True)
class Pruned:
    """What was deleted, or with `dry_run` would be; `held` counts trees that stay since something builds on them.

    `records` are questions, signals, keys, sessions and definitions; `events` those that belong to no task.
    """

    trees: int = 0
    tasks: int = 0
    records: int = 0
    held: int = 0
    events: int = 0
