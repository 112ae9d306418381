"""The budgets of a run, and how much of them is left."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from opspawn.agentkit.ledger import NOTHING, Amount, Ledger
from opspawn.contracts.budget import Budget, LimitName, number
from opspawn.contracts.clock import Clock
from opspawn.errors import BudgetExceeded

#: How many levels of tasks a tree may have, whatever budgets say: what spawns itself without end stops here.
MAX_TASK_DEPTH = 32
#: What a call must need of a limit for the limit to count.
_COUNTED = ("tokens", "usd", "requests", "tool_calls")
_CENT = Decimal("0.000001")
_UNITS = {"tokens": "tokens", "requests": "requests", "tool_calls": "tool calls"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What an act is about to use. `depth` is 1 for a child, `model` whom a model call asks."""

    amount: Amount = NOTHING
    depth: int = 0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that an act would exceed; `purse` names the budget, "task" or "agent"."""

    purse: str
    budget: Budget
    limit: LimitName
    allowed: Decimal
    spent: Decimal
    needed: Decimal
    unpriced: str | None = None

    @property
    def words(self) -> str:
        """What is used up, and how far."""
        spent, allowed, needed = _shown(self.spent), _shown(self.allowed), _shown(self.needed)
        if self.unpriced is not None:
            return f"What {self.unpriced!r} costs is not known, so a budget of {allowed} US dollars cannot be kept."
        if self.limit == "wall_s":
            return f"{_shown(round(self.spent, 1))} of {allowed} s have passed."
        if self.limit == "depth":
            return f"A child would be more than {allowed} levels below the run that has the budget."
        what = "US dollars" if self.limit == "usd" else _UNITS[self.limit]
        more = f", and the next step needs {'about ' if self.limit in ('tokens', 'usd') else ''}{needed}"
        return f"{spent} of {allowed} {what} are used{more}."

    def error(self, because: str = "") -> BudgetExceeded:
        """What the run ends with."""
        if self.unpriced is not None:
            remedy = 'Install the list of prices (pip install "opspawn-core[prices]"), or limit tokens instead.'
        else:
            remedy = f"Give it a larger budget ({self.limit}), or one that asks."
        words = f"The budget is used up: {self.words}" if self.unpriced is None else self.words
        return BudgetExceeded(
            f"{words} {because}".rstrip(),
            limit=self.limit,
            allowed=number(self.allowed),
            spent=round(float(self.spent), 6),
            remedy=remedy,
        )


class Purse:
    """The budgets that count in a run, and the ledger that all of them are compared with.

    `began` is when the run began, in epoch seconds.
    """

    def __init__(self, ledger: Ledger, began: float, clock: Clock) -> None:
        self.ledger = ledger
        self._began = began
        self._clock = clock
        self._budgets: dict[str, Budget] = {}

    def add(self, name: str, budget: Budget) -> None:
        """Let a budget count; one of the same name is replaced."""
        self._budgets[name] = budget

    def over(self, needs: Needs) -> Over | None:
        """The first limit that does not suffice; None if all do."""
        for name, budget in self._budgets.items():
            for limit, allowed in self._allowed(name, budget).items():
                if limit in _COUNTED:
                    needed = Decimal(getattr(needs.amount, limit))
                    counts = needs.amount.requests if limit == "usd" else needed
                elif limit == "depth":
                    needed = counts = Decimal(needs.depth)
                else:
                    needed, counts = Decimal(0), Decimal(1)
                if not counts:
                    continue
                spent = self.spent(limit)
                unpriced = self.ledger.unpriced if limit == "usd" else None
                if unpriced is not None or spent + needed > allowed or (limit == "wall_s" and spent >= allowed):
                    return Over(name, budget, limit, allowed, spent, needed, unpriced)
        return None

    def left(self) -> dict[LimitName, Decimal]:
        """What all budgets leave, for each limit that is set."""
        found: dict[LimitName, Decimal] = {}
        for name, budget in self._budgets.items():
            for limit, allowed in self._allowed(name, budget).items():
                rest = max(Decimal(0), allowed - self.spent(limit))
                found[limit] = min(found.get(limit, rest), rest)
        return found

    def limited(self, limit: LimitName) -> bool:
        """Whether a limit is set."""
        return any(limit in self._allowed(name, budget) for name, budget in self._budgets.items())

    def loan(self, among: int, wanted: Budget | None = None) -> Budget:
        """What a child gets that is one of `among` children which are made together: an equal part of what is left,
        and one such part stays with the run. `wanted` is what its parent asked for it: it gets no more than is left.
        """
        left = self.left()
        asked: dict[LimitName, Decimal] = {} if wanted is None else wanted.limits
        values: dict[LimitName, Decimal] = dict(asked)
        for limit, rest in left.items():
            if limit == "depth":
                part = max(Decimal(0), rest - 1)
            elif limit == "wall_s" or limit in asked:
                part = rest
            elif limit == "usd":
                part = (rest / (among + 1)).quantize(_CENT, ROUND_DOWN)
            else:
                part = rest // (among + 1)
            values[limit] = min(asked.get(limit, part), part)
        on_exceed = "stop" if wanted is None else wanted.on_exceed
        whole = {name: value if name in ("usd", "wall_s") else int(value) for name, value in values.items()}
        return Budget(**whole, on_exceed=on_exceed, approvers=() if wanted is None else wanted.approvers)  # type: ignore[arg-type]

    def wall_left(self) -> float | None:
        """Seconds until the time is up; None without such a limit."""
        left = self.left().get("wall_s") if self.limited("wall_s") else None
        return None if left is None else float(left)

    def time_over(self) -> Over:
        """The limit of time that ends first, when it has ended."""
        ends = [
            (allowed["wall_s"], name, budget)
            for name, budget in self._budgets.items()
            if "wall_s" in (allowed := self._allowed(name, budget))
        ]
        allowed_s, name, budget = min(ends, key=lambda end: end[0])
        return Over(name, budget, "wall_s", allowed_s, max(allowed_s, self.spent("wall_s")), Decimal(0))

    def _allowed(self, name: str, budget: Budget) -> dict[LimitName, Decimal]:
        raised, allowed = self.ledger.raised, budget.limits
        if not raised:
            return allowed
        found: dict[LimitName, Decimal] = {}
        for limit, value in allowed.items():
            more = raised.get((name, limit), Decimal(0))
            if more is not None:
                found[limit] = value + more
        return found

    def spent(self, limit: LimitName) -> Decimal:
        """How much of a limit is used, in its own unit."""
        if limit == "wall_s":
            return Decimal(str(round(max(0.0, self._clock.time() - self._began), 6)))
        return Decimal(0) if limit == "depth" else Decimal(getattr(self.ledger.total, limit))


def amount_of(budget: Budget) -> Amount:
    """What a loan takes out of its lender's budget."""
    usd = Decimal(0) if budget.usd is None else Decimal(str(budget.usd))
    return Amount(int(budget.tokens or 0), usd, int(budget.requests or 0), int(budget.tool_calls or 0))


def purse_of(budget: Budget, ledger: Ledger, began: float, clock: Clock) -> Purse:
    """A purse with what a task was given."""
    purse = Purse(ledger, began, clock)
    purse.add("task", budget)
    return purse


def _shown(value: Decimal) -> str:
    return f"{int(value):,}" if value == int(value) else f"{float(value):,.6g}"
