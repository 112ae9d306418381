"""Everything that a fault may touch."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from opspawn.host import Host

from .fleet import Fleet
from .places import RedisPlace, SqlitePlace
from .plan import Job
from .power import Power


@dataclass(slots=True)
class Scene:
    """What a fault may touch. `env` are variables of new workers, `broken` what a fault found to be wrong."""

    folder: Path
    host: Host
    fleet: Fleet
    jobs: list[Job]
    chance: random.Random
    lease_s: float
    power: Power
    place: SqlitePlace | RedisPlace
    rounds: int = 5
    env: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The store's file, where it is one."""
        assert isinstance(self.place, SqlitePlace)
        return self.place.database

    @property
    def store(self) -> str:
        """The store's name."""
        return "sqlite" if isinstance(self.place, SqlitePlace) else "redis"

    def count(self, what: str) -> None:
        """One more of something that the summary tells."""
        self.counts[what] = self.counts.get(what, 0) + 1
