"""`Limit`: how many tasks may run at once under a name, over all workers of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opspawn.contracts.store import Hold
from opspawn.errors import ConfigError

MAX_LIMITS = 8
_MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `at_most` tasks under `key` at once; the others wait in line and hold no slot.

    With `parked=False`, the default, a place is held while a worker runs the task; with `parked=True` from its first
    claim to its end, the time included in which it waits for children, people or the clock.
    """

    key: str
    at_most: int
    parked: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not 1 <= len(self.key) <= _MAX_KEY:
            raise ConfigError(f"A limit's key is a text of 1 to {_MAX_KEY} characters, not {self.key!r}.")
        if isinstance(self.at_most, bool) or not isinstance(self.at_most, int) or self.at_most < 1:
            raise ConfigError(f"The limit {self.key!r} has at_most={self.at_most!r}; a whole number from 1 is meant.")

    @property
    def hold(self) -> Hold:
        """As the store knows it."""
        return Hold(self.key, self.at_most, "unfinished" if self.parked else "running")


def checked_limits(whose: str, limits: Any) -> tuple[Limit, ...]:
    """The limits of something, looked at. Raises: ConfigError, which names `whose`."""
    if isinstance(limits, str) or not isinstance(limits, Sequence) or not all(isinstance(one, Limit) for one in limits):
        raise ConfigError(f"{whose} has limits={limits!r}.", remedy='Write limits=[Limit("crm", 5)].')
    keys = [one.key for one in limits]
    if len(set(keys)) != len(keys):
        raise ConfigError(f"{whose} has two limits of the same key.", remedy="Keep the stricter one.")
    if len(keys) > MAX_LIMITS:
        raise ConfigError(f"{whose} has {len(keys)} limits; {MAX_LIMITS} are the most.")
    return tuple(limits)
