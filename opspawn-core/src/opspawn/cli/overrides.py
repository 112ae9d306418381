"""What one run does differently, on the command line: `--set model=openai:gpt-5 --set planner_settings.finish=true`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from opspawn.errors import InvalidInput

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change the agent for this run: model, planner, planner_settings.NAME, max_steps, settings.NAME. Repeatable.",
)


def overrides_of(words: Sequence[str]) -> dict[str, Any] | None:
    """Overrides written as KEY=VALUE, a value as JSON or else as text; None where none is given.

    Raises: InvalidInput: one sets nothing, or is given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        table, dot, name = key.strip().partition(".")
        if not sign or not table or (dot and not name):
            raise InvalidInput(f"{word!r} sets nothing.", remedy="Write e.g. --set model=openai:gpt-5.")
        place = values.setdefault(table, {}) if dot else values
        name = name if dot else table
        if not isinstance(place, dict) or name in place:
            raise InvalidInput(f"--set gives {key.strip()} twice.", remedy="--model sets model, too.")
        place[name] = _meant(value)
    return values or None


def _meant(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
