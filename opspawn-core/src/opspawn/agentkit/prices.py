"""What model calls cost, in US dollars, by the list of the package `genai-prices`, if it is installed.

Prices change: the list is that of the installed version, and `price_list` says how new it is. A model that is not in
the list has no price; nothing is guessed, and nothing is fetched.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from opspawn.contracts.model import Usage


@dataclass(frozen=True, slots=True)
class PriceList:
    """Which list counts; `as_of` is the newest change of a price in it."""

    name: str
    version: str
    as_of: date


def price_list() -> PriceList | None:
    """The list in use; None if none is installed: `pip install "opspawn-core[prices]"`."""
    try:
        from genai_prices import data
        from genai_prices.types import StartDateConstraint
    except ImportError:
        return None
    dates = (
        price.constraint.start_date
        for provider in data.providers
        for model in provider.models
        for price in (model.prices if isinstance(model.prices, list) else ())
        if isinstance(price.constraint, StartDateConstraint)
    )
    return PriceList("genai-prices", importlib.metadata.version("genai-prices"), max(dates))


def cost(usage: Usage, model: str) -> Decimal | None:
    """The cost of calls to "VENDOR:MODEL", e.g. "openai:gpt-5"; None if the list is missing or has no such model."""
    vendor, _, name = model.partition(":")
    return _cost(usage, vendor, name)


async def cost_of(usage: Usage, vendor: str, *names: str) -> Decimal | None:
    """As `cost`, by the first of several names that is in the list; reads the list off the event loop."""
    if "genai_prices.data" not in sys.modules and not await asyncio.to_thread(_load):
        return None
    return next((found for name in names if (found := _cost(usage, vendor, name)) is not None), None)


def _load() -> bool:
    try:
        import genai_prices.data  # noqa: F401  a second's work
    except ImportError:
        return False
    return True


def _cost(usage: Usage, vendor: str, name: str) -> Decimal | None:
    try:
        import genai_prices
    except ImportError:
        return None
    counted: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
    }
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**{key: count for key, count in counted.items() if count}), name, provider_id=vendor
        )
    except (LookupError, ValueError):  # no such model; or figures that contradict one another
        return None
    return Decimal(price.total_price)
