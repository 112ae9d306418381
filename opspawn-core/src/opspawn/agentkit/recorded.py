"""What identifies a step, and what is recorded of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Recorded:
    """How a step ended, as the journal has it: exactly one of `result` (if `ok`) and `error` counts."""

    digest: str
    name: str
    ok: bool
    result: Any = None
    error: dict[str, Any] | None = None


class Asked(NamedTuple):
    """What identifies a step: its key, what sort of step it is, its name, and the digest of what was asked."""

    key: str
    kind: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Tries:
    """What is recorded of the failed tries of a step that goes on: how many count, how often a service asked to come
    back later (which does not count), when the next try is due, and when that of the `first` postponement was, in epoch
    seconds.
    """

    failures: int = 0
    postponed: int = 0
    until: float = 0.0
    first: float = 0.0


NO_TRIES = Tries()
