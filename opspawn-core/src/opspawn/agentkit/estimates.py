"""What a model call is about to use, before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from opspawn.agentkit import prices
from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.budget import Needs
from opspawn.agentkit.ledger import Amount
from opspawn.agentkit.rates import ANSWER_TOKENS
from opspawn.agentkit.tokens import estimate_tokens
from opspawn.contracts.model import Message, ModelRequest, ToolSpec, Usage

_SETTINGS = ("max_tokens", "max_output_tokens", "max_completion_tokens")


async def estimated(
    model: BoundModel, messages: Sequence[Message], specs: Sequence[ToolSpec], *, priced: bool
) -> tuple[Needs, str | None]:
    """What a call needs: its input by an estimate, and an answer as long as the settings allow.

    With `priced` also what that costs, of several models by the dearest; 0 where only the answer will tell. Beside it
    the name of a model that has no price in the list although it should.
    """
    tokens_in = estimate_tokens(ModelRequest(model.name, tuple(messages), specs, None, model.settings))
    tokens_out = _answer(model)
    usd, unpriced = Decimal(0), None
    if priced:
        usage = Usage(input_tokens=tokens_in, output_tokens=tokens_out, requests=1)
        for one in getattr(model.provider, "members", (model,)):
            vendor = one.capabilities().prices
            if vendor is None:
                continue
            cost = await prices.cost_of(usage, vendor, one.name)
            if cost is None:
                unpriced = one.spec or one.name
            else:
                usd = max(usd, cost)
    needs = Needs(Amount(tokens_in + tokens_out, usd, 1), model=model.spec or model.name)
    return needs, unpriced


def _answer(model: BoundModel) -> int:
    told = [model.settings.get(name) for name in _SETTINGS]
    known = [value for value in told if isinstance(value, int) and not isinstance(value, bool) and value > 0]
    return min(known, default=ANSWER_TOKENS)
