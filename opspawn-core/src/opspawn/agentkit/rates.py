"""Rates: how often something may be asked in a minute, by everybody who shares a store.

A rate is a bucket that refills evenly. A durable run takes from the store's bucket, so that all workers share it; a run
in memory takes from a bucket of this process.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opspawn.contracts.clock import SYSTEM_CLOCK, Clock
from opspawn.contracts.model import Message
from opspawn.contracts.store import Take
from opspawn.errors import InvalidInput, NotFound

#: Without a `burst`, as much may come at once as this many seconds bring.
BURST_S = 10.0
#: A model's answer is reckoned with this many tokens, unless the agent's settings say `max_tokens`.
ANSWER_TOKENS = 1024
_CHARACTERS_PER_TOKEN = 4
_ALMOST = 1e-9


@dataclass(frozen=True, slots=True)
class Rate:
    """What `[limits.NAME]` says; None is no limit. `burst` is how many requests may come at once."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst: int | None = None

    @property
    def burst_s(self) -> float:
        """How many seconds' worth may come at once."""
        if self.burst is None or not self.requests_per_minute:
            return BURST_S
        return self.burst * 60.0 / self.requests_per_minute


class Rates:
    """The rates of a configuration, by name, and the buckets of this process for runs in memory."""

    def __init__(self, rates: Mapping[str, Rate] | None = None) -> None:
        self._rates = dict(rates or {})
        self.local = Buckets()

    def of(self, name: str, amount: float, unit: str = "requests") -> list[Take]:
        """What to take for `amount` requests or tokens of a rate.

        Raises: NotFound: no such rate. InvalidInput: no such unit, or an amount that is no number above 0.
        """
        if name not in self._rates:
            remedy = f'Write [limits."{name}"] with requests_per_minute into opspawn.toml.'
            raise NotFound("limit", name, known=list(self._rates), remedy=remedy if not self._rates else None)
        if unit not in ("requests", "tokens"):
            raise InvalidInput(f"A rate counts no {unit!r}.", remedy="Take requests or tokens.")
        if not isinstance(amount, int | float) or isinstance(amount, bool) or not 0 < amount < 1e12:
            raise InvalidInput(f"{amount!r} {unit} cannot be taken of {name!r}.", remedy="Take a number above 0.")
        return self._takes(name, **{unit: amount})

    def limits(self, spec: str) -> list[str]:
        """The rates that a model "PROVIDER:MODEL" comes under: that of its provider, and its own."""
        if not self._rates or not spec:
            return []
        return [name for name in (spec.partition(":")[0], spec) if name in self._rates]

    def of_model(self, spec: str, tokens: float) -> list[Take]:
        """What to take for a call of the model "PROVIDER:MODEL"."""
        return [take for name in self.limits(spec) for take in self._takes(name, requests=1, tokens=tokens)]

    def _takes(self, name: str, requests: float = 0, tokens: float = 0) -> list[Take]:
        rate, found = self._rates[name], []
        if requests and rate.requests_per_minute:
            per_s = rate.requests_per_minute / 60.0
            found.append(Take(f"{name}/requests", requests, per_s, max(1.0, per_s * rate.burst_s)))
        if tokens and rate.tokens_per_minute:
            per_s = rate.tokens_per_minute / 60.0
            found.append(Take(f"{name}/tokens", tokens, per_s, max(1.0, per_s * rate.burst_s)))
        return found


def settlement(takes: Sequence[Take], estimated: float, used: float) -> list[Take]:
    """What remains to be taken once it is known how many tokens a call really used; it may be a giving back."""
    if used == estimated:
        return []
    return [
        Take(take.key, used - estimated, take.per_s, take.burst, force=True)
        for take in takes
        if take.key.endswith("/tokens")
    ]


def estimated_tokens(messages: Sequence[Message], answer: object) -> float:
    """About how many tokens a call will use: its messages at 4 characters a token, and its answer."""
    characters = sum(len(str(message)) for message in messages)
    expected = answer if isinstance(answer, int) and not isinstance(answer, bool) and answer > 0 else ANSWER_TOKENS
    return characters // _CHARACTERS_PER_TOKEN + expected


class Buckets:
    """Token buckets in memory, under the rules of `Take`: all or nothing, and a forced take goes into debt.

    Safe to use from several threads.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, takes: Sequence[Take]) -> tuple[str, float] | None:
        """Take, and return None; or take nothing, and return the key to wait for and for how long, in seconds."""
        with self._lock:
            now = self._clock.monotonic()
            after: dict[str, float] = {}
            waits: list[tuple[float, str]] = []
            for take in takes:
                level = after.get(take.key, self._level(take, now))
                needed = min(take.amount, take.burst)
                if not take.force and take.amount > 0 and level + _ALMOST < needed:
                    waits.append(((needed - level) / take.per_s, take.key))
                after[take.key] = min(take.burst, level - take.amount)
            if waits:
                seconds, key = max(waits)
                return key, seconds
            for key, level in after.items():
                self._levels[key] = (level, now)
            return None

    def _level(self, take: Take, now: float) -> float:
        level, then = self._levels.get(take.key, (take.burst, now))
        return min(take.burst, level + (now - then) * take.per_s)
