"""Rates for the models of a list: which of them is asked is only known while the call is on its way.

Whoever makes such a call sets a `Meter` around it, and the list has it count each model that it asks. A rate that is
spent is to the list what a vendor's "too fast" is: it waits for a moment, or asks the next model, and if none is left
the call is put off without a slot.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

from opspawn.agentkit.bound import BoundModel
from opspawn.agentkit.log import StepLog
from opspawn.agentkit.rates import estimated_tokens, settlement
from opspawn.contracts.model import ModelRequest, ModelResponse
from opspawn.errors import Limited, ModelError

T = TypeVar("T")


class Meter:
    """Counts the calls of models against the rates of a run."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    async def count(self, model: BoundModel, request: ModelRequest, call: Awaitable[ModelResponse]) -> ModelResponse:
        """Make a call, once its rates are granted; what it really used is settled with its record.

        Raises: ModelError: a rate is spent, and says until when; the call is not made then. And what the call raises.
        """
        estimated = estimated_tokens(request.messages, request.settings.get("max_tokens"))
        takes = self._log.rates.of_model(model.spec, estimated)
        if takes:
            try:
                await self._log.take(takes)
            except Limited as limited:
                _drop(call)
                raise ModelError(
                    f"The rate {limited.key!r} is spent for now.",
                    error_type="rate_limited",
                    retry_after_s=limited.retry_after_s,
                ) from limited
            except BaseException:
                _drop(call)
                raise
        used = 0
        try:
            response = await call
            used = response.usage.input_tokens + response.usage.output_tokens
            return response
        finally:
            if takes:
                self._log.owe(settlement(takes, estimated, used))


def _drop(call: Awaitable[object]) -> None:
    close = getattr(call, "close", None)
    if close is not None:
        close()


#: The meter of the call that is on its way; None where no model of a list has a rate.
metering: ContextVar[Meter | None] = ContextVar("opspawn_metering", default=None)


async def metered(meter: Meter, call: Awaitable[T]) -> T:
    """Await a call with a meter set around it."""
    token = metering.set(meter)
    try:
        return await call
    finally:
        metering.reset(token)
