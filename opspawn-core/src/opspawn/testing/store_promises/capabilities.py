"""What not every store can do."""

from __future__ import annotations

from collections.abc import Set
from enum import StrEnum


class Capability(StrEnum):
    """Declared by a store's suite as `capabilities`; each brings promises of its own."""

    SHARED = "shared"
    """Several may be open on the same data at once, in one process or many. Needs the fixture `another`."""

    MOVABLE = "movable"
    """It is an `opspawn.contracts.moving.Movable`. Needs the fixture `elsewhere`: an empty one, of whatever sort."""


def choose(suite: type, promises: type, capability: Capability, has: Set[Capability]) -> None:
    """Of a store without a capability, its promises are no tests."""
    for name, promise in vars(promises).items():
        if name.startswith("test_") and name not in vars(suite) and getattr(suite, name) in (None, promise):
            setattr(suite, name, promise if capability in has else None)
