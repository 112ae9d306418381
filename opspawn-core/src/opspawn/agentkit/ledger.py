"""What a run has used, entry by entry: what its journal says, and what this life of the run adds.

Each entry has an id, so that to enter the same thing twice changes nothing. A call whose end is not known stands in the
ledger with what was reserved for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from opspawn.contracts.model import Usage

_NOTHING = Decimal(0)
#: In the key of a model call that a tool has made within its call; what it is for follows.
ASIDE = "/aside/"
#: The kinds of steps that are calls of tools.
_TOOLS = ("act", "tool")
#: After these failures of a model call nobody knows what the provider will charge for it.
_LEAVES_OPEN = ("timeout", "budget")


@dataclass(frozen=True, slots=True)
class Amount:
    """What was used, or may be. `usd` in US dollars."""

    tokens: int = 0
    usd: Decimal = _NOTHING
    requests: int = 0
    tool_calls: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.tokens + other.tokens,
            self.usd + other.usd,
            self.requests + other.requests,
            self.tool_calls + other.tool_calls,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            self.tokens - other.tokens,
            self.usd - other.usd,
            self.requests - other.requests,
            self.tool_calls - other.tool_calls,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what is zero; money as text, which keeps every digit."""
        counts = {"tokens": self.tokens, "requests": self.requests, "toolCalls": self.tool_calls}
        data: dict[str, Any] = {name: count for name, count in counts.items() if count}
        return data | ({"usd": str(self.usd)} if self.usd else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Amount:
        """The amount of `to_json`; what is missing is 0."""
        get = data.get
        return cls(get("tokens", 0), Decimal(get("usd", 0)), get("requests", 0), get("toolCalls", 0))


NOTHING = Amount()
CALL = Amount(tool_calls=1)


@dataclass(frozen=True, slots=True)
class Reserved:
    """A model call whose end is not known; `n` counts the tries at its key."""

    key: str
    n: int
    amount: Amount


class Ledger:
    """The entries of one run.

    Attributes:
        total: all that was used, reserved and lent.
        raised: by purse, how much more of a limit was allowed later; None for without limit.
        cheaper: the purses that went on with a cheaper model.
        asked: by key, how often somebody was asked for more.
        unpriced: a model of whose call the cost is not known.
        live: whether the run itself adds entries from now on: what its journal tells of that is known.
    """

    def __init__(self) -> None:
        self.total = NOTHING
        self.raised: dict[tuple[str, str], Decimal | None] = {}
        self.cheaper: set[str] = set()
        self.asked: dict[str, int] = {}
        self.unpriced: str | None = None
        self.live = False
        self._entries: dict[str, Amount] = {}
        self._open: dict[str, Reserved] = {}
        self._tries: dict[str, int] = {}

    @property
    def open(self) -> list[Reserved]:
        """The model calls whose end is not known."""
        return list(self._open.values())

    def enter(self, id: str, amount: Amount) -> None:
        """Write an entry, over what it said before."""
        self.total = self.total - self._entries.get(id, NOTHING) + amount
        self._entries[id] = amount

    def remove(self, id: str) -> None:
        """Take an entry back."""
        self.total -= self._entries.pop(id, NOTHING)

    # -- model calls ---------------------------------------------------------------------------------------------------

    def reserve(self, key: str, amount: Amount, n: int | None = None) -> Reserved:
        """A model call begins."""
        n = self._tries.get(key, 0) if n is None else n
        self._tries[key] = n + 1
        kept = self._open[key] = Reserved(key, n, amount)
        self.enter(f"open {key}", amount)
        return kept

    def answered(self, key: str, usage: Mapping[str, Any] | Usage, model: str = "") -> None:
        """A model call has ended with an answer; `model` gave it."""
        self._open.pop(key, None)
        self.remove(f"open {key}")
        amount, priced = _used(usage)
        self.enter(f"think {key}", amount)
        if not priced:
            self.unpriced = model or "the model"

    def failed(self, key: str, error_type: str) -> None:
        """A try of a model call has failed: a request, and nothing else that is known of."""
        kept = self._open.pop(key, None)
        if kept is not None:
            self.remove(f"open {key}")
            self.enter(f"tried {key} {kept.n}", kept.amount if error_type in _LEAVES_OPEN else Amount(requests=1))

    def lost(self, key: str, n: int, amount: Amount) -> None:
        """What a model call used will never be known: it is charged as it was reserved."""
        kept = self._open.get(key)
        if kept is not None and kept.n == n:
            del self._open[key]
            self.remove(f"open {key}")
        self.enter(f"tried {key} {n}", amount)

    def aside(self, purpose: str) -> dict[str, int]:
        """The model calls that tools have made for a purpose, those that failed included: by entry, their tokens."""
        mark = f"{ASIDE}{purpose}/"
        return {id: amount.tokens for id, amount in self._entries.items() if mark in id}

    # -- tools and children --------------------------------------------------------------------------------------------

    def called(self, key: str) -> None:
        """A tool is called."""
        self.enter(f"call {key}", CALL)

    def has_called(self, key: str) -> bool:
        """Whether the call at a key is counted already."""
        return f"call {key}" in self._entries

    def lending(self, key: str, amount: Amount) -> None:
        """A child is about to be made at a key."""
        self.enter(f"lending {key}", amount)

    def lent(self, key: str, child: str, amount: Amount) -> None:
        """A child was made, and given this much."""
        self.remove(f"lending {key}")
        if f"child {child}" not in self._entries:
            self.enter(f"child {child}", amount)

    def returned(self, child: str, spent: Amount) -> None:
        """A child has ended, having used this much; the rest comes back."""
        self.enter(f"child {child}", spent)

    # -- limits --------------------------------------------------------------------------------------------------------

    def raise_by(self, data: Mapping[str, Any]) -> None:
        """A limit was raised; `data` as in the event `budget.raised`."""
        key, purse = data["key"], data["purse"]
        self.asked[key] = max(self.asked.get(key, 0), data["n"] + 1)
        if data.get("model"):
            self.cheaper.add(purse)
        for name, more in data["limits"].items():
            known = self.raised.get((purse, name), _NOTHING)
            self.raised[purse, name] = None if more is None or known is None else known + Decimal(str(more))

    # -- reading the journal -------------------------------------------------------------------------------------------

    def read(self, type: str, data: Mapping[str, Any]) -> None:
        """Take in an event of `READ`."""
        if self.live and type != "child.ended":
            return
        key, step = data.get("key", ""), data.get("kind")
        if type == "step.done" and step == "think":
            result = data.get("result") or {}
            self.answered(key, result.get("usage") or {}, result.get("source") or result.get("model") or "")
        elif type in ("step.done", "step.started") and step in _TOOLS:
            self.called(key)
        elif type in ("step.failed", "step.retry"):
            error_type = data["error"]["type"]
            if step == "think":
                self.failed(key, error_type)
            elif step in _TOOLS and error_type not in ("denied", "budget"):
                self.called(key)
        elif type == "usage.reserved":
            self.reserve(key, Amount.from_json(data), data["n"])
        elif type == "usage.unknown":
            self.lost(key, data["n"], Amount.from_json(data))
        elif type == "budget.raised":
            self.raise_by(data)
        elif type == "child.spawned" and "lent" in data:
            self.lent(key, data["child"], Amount.from_json(data["lent"]))
        elif type == "child.ended" and (f"child {data['child']}" in self._entries or "spent" in data):
            self.returned(data["child"], Amount.from_json(data.get("spent") or {}))


#: The types of events that a ledger reads.
READ = frozenset(
    {
        "step.done",
        "step.started",
        "step.failed",
        "step.retry",
        "usage.reserved",
        "usage.unknown",
        "budget.raised",
        "child.spawned",
        "child.ended",
    }
)


def _used(usage: Mapping[str, Any] | Usage) -> tuple[Amount, bool]:
    """What a call has used, and whether its cost is known."""
    if isinstance(usage, Usage):
        tokens, requests, cost = usage.input_tokens + usage.output_tokens, usage.requests, usage.cost
    else:
        get = usage.get
        tokens, requests = get("input_tokens", 0) + get("output_tokens", 0), get("requests", 0)
        cost = Decimal(usage["cost"]) if "cost" in usage else None
    return Amount(tokens, cost or _NOTHING, max(1, requests)), cost is not None
