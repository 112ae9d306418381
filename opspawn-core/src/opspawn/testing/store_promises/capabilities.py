"""What not every store can do."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """Declared by a store's suite as `capabilities`; each brings promises of its own."""

    SHARED = "shared"
    """Several may be open on the same data at once, in one process or many. Needs the fixture `another`."""
