"""What identifies a step, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from opspawn.errors import JournalMismatch


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


#: `Asked` of a tuple: without the call of Python that its class makes, since one is made with every step.
asked_of: Callable[[tuple[str, str, str, str]], Asked] = partial(tuple.__new__, Asked)


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


def check_same(asked: Asked, name: str, digest: str) -> None:
    """Return if this is what is recorded at its key. Raises: JournalMismatch."""
    if asked.digest != digest:
        then = f"{name!r} with digest {digest[:8]}"
        raise JournalMismatch(asked.key, then, f"{asked.name!r} with digest {asked.digest[:8]}")


def check_unlike(asked: Asked, *others: Mapping[str, Any]) -> None:
    """Return if none of these, acts of other sorts by key, is recorded at its key. Raises: JournalMismatch."""
    for sort in others:
        if (other := sort.get(asked.key)) is not None:
            raise JournalMismatch(asked.key, repr(other.name), f"a {asked.kind} named {asked.name!r}")
