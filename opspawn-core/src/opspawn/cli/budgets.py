"""Budgets on the command line: `--budget tokens=50000 --budget usd=0.5 --budget on_exceed=ask`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from opspawn.contracts.budget import LIMITS, Budget
from opspawn.errors import ConfigError, InvalidInput

budget_option = click.option(
    "--budget",
    "budget",
    multiple=True,
    metavar="NAME=AMOUNT",
    help=f"What it and all under it may use: {', '.join(LIMITS)}; or on_exceed=ask. Repeatable.",
)


def budget_of(words: Sequence[str]) -> Budget | None:
    """A budget written as NAME=AMOUNT; None where nothing is given. Raises: InvalidInput."""
    values: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or name not in (*LIMITS, "on_exceed"):
            raise InvalidInput(
                f"{word!r} is no limit of a budget.",
                remedy=f"Write e.g. --budget {LIMITS[0]}=50000; there are {', '.join(LIMITS)}, and on_exceed=ask.",
            )
        if name in values:
            raise InvalidInput(f"--budget gives {name} twice.")
        values[name] = value if name == "on_exceed" else _amount(word, value)
    try:
        return Budget(**values) if values else None
    except ConfigError as error:
        raise InvalidInput(error.message, remedy=error.remedy) from error


def _amount(word: str, value: str) -> float:
    try:
        amount = float(value.replace("_", ""))
    except ValueError as error:
        raise InvalidInput(f"{word!r} names no amount.", remedy="Write a number after the sign.") from error
    return int(amount) if amount.is_integer() else amount
