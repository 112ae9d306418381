"""Spending within a run: each act is held against the budgets before it begins, and entered in the ledger.

A model call is reserved in the journal before it begins, by an estimate, and settled by the record of its answer; so a
crash in between leaves what it may have cost. What a budget does not allow ends the run, or a human is asked for more,
or another model goes on. The refusal is recorded at the step, like any failure, so that a replay meets it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from opspawn.agentkit.approvals import NOBODY, SCHEMA, Put
from opspawn.agentkit.budget import Needs, Over, Purse, amount_of
from opspawn.agentkit.children import ChildAsked
from opspawn.agentkit.digests import digest
from opspawn.agentkit.ledger import CALL, Amount
from opspawn.agentkit.log import Grant, StepLog
from opspawn.agentkit.questions import make_question
from opspawn.agentkit.recorded import Asked
from opspawn.contracts.budget import LIMITS, Cheaper, number, wire_name
from opspawn.contracts.events import NewEvent
from opspawn.contracts.model import ModelResponse
from opspawn.contracts.question import Question
from opspawn.errors import BudgetExceeded, Denied

T = TypeVar("T")
#: What an act needs; asked anew when another model goes on.
Estimate = Callable[[], Awaitable[Needs]]
#: Records an event.
Note = Callable[[NewEvent], Awaitable[None]]
#: Records that a step failed, and raises the error.
Fail = Callable[[Asked, BudgetExceeded], Awaitable[Any]]
#: Limits that a cheaper model helps against.
_OF_MODELS = ("tokens", "usd", "requests")


class Charge(Protocol):
    """What stands between a step and its doing."""

    async def enter(self, asked: Asked) -> None:
        """Return once it may begin. Raises: BudgetExceeded, recorded."""
        ...

    async def begin(self, asked: Asked) -> None:
        """Record that it begins."""
        ...

    async def within(self, doing: Awaitable[T]) -> T:
        """Await it, for as long as there is time. Raises: BudgetExceeded: the time is up."""
        ...

    def done(self, asked: Asked, value: Any) -> None:
        """It has ended well."""
        ...

    def failed(self, asked: Asked, error_type: str) -> None:
        """A try has failed."""
        ...


class Spender:
    """The spending of one run. `agent` is for whoever is asked."""

    def __init__(self, log: StepLog, purse: Purse, put: Put, note: Note, fail: Fail) -> None:
        self.purse = purse
        self.agent = ""
        self.log = log
        self._put = put
        self._note = note
        self._fail = fail

    def model_call(self, estimate: Estimate) -> Charge:
        """The charge of a model call."""
        return _ModelCharge(self, estimate)

    def tool_call(self) -> Charge:
        """The charge of a tool call."""
        return _ToolCharge(self)

    async def admit(self, asked: Asked, keys: Sequence[str]) -> None:
        """Return if all of these tool calls may be made, so that none is cut off for want of another one's budget.

        Raises: BudgetExceeded, recorded at `asked`.
        """
        new = sum(not self.purse.ledger.has_called(key) for key in keys)
        if new:
            await self.afford(asked, _fixed(Needs(Amount(tool_calls=new))))

    async def lend(self, wanted: Sequence[ChildAsked], among: int) -> Sequence[ChildAsked]:
        """The children with what each may use; that is reserved until they are made. Raises: BudgetExceeded, recorded.

        `among` says how many children are being made together, these included.
        """
        fresh = [one for one in wanted if not self.log.spawned(one.asked.key)]
        if not fresh:
            return wanted
        first = fresh[0].asked
        await self.afford(Asked(f"{first.key}/budget", "budget", first.name, ""), _fixed(Needs(depth=1)))
        among = max(among, len(fresh))
        lent: dict[str, ChildAsked] = {}
        for index, one in enumerate(fresh):
            loan = self.purse.loan(among - index, one.options.budget)
            self.purse.ledger.lending(one.asked.key, amount_of(loan))
            lent[one.asked.key] = one._replace(options=one.options._replace(budget=loan))
        return [lent.get(one.asked.key, one) for one in wanted]

    def lent(self, wanted: Sequence[ChildAsked]) -> None:
        """The children were made, or will not be."""
        for one in wanted:
            self.purse.ledger.remove(f"lending {one.asked.key}")

    # -- limits --------------------------------------------------------------------------------------------------------

    async def afford(self, asked: Asked, estimate: Estimate) -> Needs:
        """Return what an act needs, if the budgets allow it. Raises: BudgetExceeded, recorded at `asked`."""
        while True:
            needs = await estimate()
            over = self.purse.over(needs)
            if over is None:
                return needs
            await self._exceeded(asked, over)

    async def _exceeded(self, asked: Asked, over: Over) -> None:
        """Return if more is allowed now. Raises: BudgetExceeded, recorded."""
        wanted, ledger = over.budget.on_exceed, self.purse.ledger
        if over.unpriced is None and wanted == "ask":
            because = await self._ask(asked, over)
            if because is None:
                return
            await self._fail(asked, over.error(because))
        if isinstance(wanted, Cheaper) and over.limit in _OF_MODELS and over.purse not in ledger.cheaper:
            more = Decimal(str(wanted.more))
            limits = {name: value * more for name, value in over.budget.limits.items() if name in _OF_MODELS}
            ledger.unpriced = None
            model = wanted.model if isinstance(wanted.model, str) else type(wanted.model).__name__
            whole = {name: value if name == "usd" else value.to_integral_value() for name, value in limits.items()}
            await self._raise(asked, over, whole, None, model)
            return
        await self._fail(asked, over.error())

    async def _ask(self, asked: Asked, over: Over) -> str | None:
        """None if a human allows more; else why not."""
        n = self.purse.ledger.asked.get(asked.key, 0)
        at = Asked(f"{asked.key}/budget{f'#{n}' if n else ''}", "ask", "approval", digest(["budget", asked.key, n]))
        told = await self._put(at, self._question(asked, over, at.digest), None, NOBODY)
        value, by = told["value"], told.get("by")
        if value["decision"] != "approve":
            who = "" if told.get("expired") else f"{by or 'A human'} said no. "
            return f"{who}{value.get('reason', '')}".strip()
        if value.get("always"):
            granted: dict[Any, Decimal | None] = {over.limit: None}
        else:
            granted = (
                _granted(value["arguments"]) if value.get("arguments") else {over.limit: over.allowed or Decimal(1)}
            )
        if not granted:
            return "The approval names no limit and by how much it is raised."
        try:
            await self.log.redeem(at, Grant(told.get("question"), at.digest, by), with_intent=False)
        except Denied as denied:
            return denied.message
        await self._raise(asked, over, granted, by, None)
        return None

    def _question(self, asked: Asked, over: Over, what: str) -> Question:
        more = {wire_name(over.limit): number(over.allowed or Decimal(1))}
        text = f"May {self.agent or 'the run'} use more? Its budget is used up: {over.words}"
        to = ", ".join(over.budget.approvers)[:200] or None
        made = make_question(text, None, SCHEMA, to, kind="approval", digest=what)
        call = {"act": "budget", "name": "budget", "arguments": more, "reason": over.words, "policy": "budget"}
        return Question(made.text, made.choices, made.schema, made.to, made.kind, made.digest, call)

    async def _raise(
        self, asked: Asked, over: Over, limits: Mapping[Any, Decimal | None], by: str | None, model: str | None
    ) -> None:
        if limits.get("wall_s") is not None:  # the time that passed while somebody thought is allowed, too
            late = self.purse.spent("wall_s") - over.allowed
            limits = {**limits, "wall_s": (limits["wall_s"] or Decimal(0)) + max(Decimal(0), late)}
        data: dict[str, Any] = {
            "key": asked.key,
            "n": self.purse.ledger.asked.get(asked.key, 0),
            "purse": over.purse,
            "limits": {name: None if more is None else number(more) for name, more in limits.items()},
            "spent": self.purse.ledger.total.to_json(),
        }
        data |= {name: value for name, value in (("by", by), ("model", model)) if value is not None}
        await self._note(NewEvent("budget.raised", data, level="warning", error_type="budget"))
        self.purse.ledger.raise_by(data)

    async def time_for(self, doing: Awaitable[T]) -> T:
        """Await, for as long as there is time. Raises: BudgetExceeded."""
        left = self.purse.wall_left()
        if left is None:
            return await doing
        try:
            async with asyncio.timeout(left) as timer:
                return await doing
        except TimeoutError:
            if not timer.expired():
                raise
            raise self.purse.time_over().error("The call that was on its way was cut off.") from None


class _ToolCharge:
    def __init__(self, spender: Spender) -> None:
        self._spender = spender

    async def enter(self, asked: Asked) -> None:
        ledger = self._spender.purse.ledger
        if not ledger.has_called(asked.key):
            await self._spender.afford(asked, _fixed(Needs(CALL)))
            ledger.called(asked.key)

    async def begin(self, asked: Asked) -> None:
        return None

    async def within(self, doing: Awaitable[T]) -> T:
        return await self._spender.time_for(doing)

    def done(self, asked: Asked, value: Any) -> None:
        return None

    def failed(self, asked: Asked, error_type: str) -> None:
        return None


class _ModelCharge:
    def __init__(self, spender: Spender, estimate: Estimate) -> None:
        self._spender = spender
        self._estimate = estimate
        self._n = 0
        self._needs = Needs()

    async def enter(self, asked: Asked) -> None:
        self._needs = await self._spender.afford(asked, self._estimate)
        self._n = self._spender.purse.ledger.reserve(asked.key, self._needs.amount).n

    async def begin(self, asked: Asked) -> None:
        data = {"key": asked.key, "n": self._n, **self._needs.amount.to_json()}
        await self._spender.log.note(NewEvent("usage.reserved", data, level="debug"))

    async def within(self, doing: Awaitable[T]) -> T:
        return await self._spender.time_for(doing)

    def done(self, asked: Asked, value: Any) -> None:
        assert isinstance(value, ModelResponse)
        model = value.source or value.model or self._needs.model
        self._spender.purse.ledger.answered(asked.key, value.usage, model)

    def failed(self, asked: Asked, error_type: str) -> None:
        self._spender.purse.ledger.failed(asked.key, error_type)


def _fixed(needs: Needs) -> Estimate:
    async def estimate() -> Needs:
        return needs

    return estimate


def _granted(arguments: dict[str, Any]) -> dict[Any, Decimal | None]:
    """By how much an approver raises which limits; what makes no sense is left out."""
    names = {wire_name(name): name for name in LIMITS}
    return {
        names[wire]: Decimal(str(more))
        for wire, more in arguments.items()
        if wire in names and isinstance(more, int | float) and not isinstance(more, bool) and more > 0
    }
