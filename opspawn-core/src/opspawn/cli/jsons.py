"""The JSON that options and arguments of the command line hold."""

from __future__ import annotations

import json
from typing import Any

from opspawn.errors import InvalidInput


def json_value(option: str, text: str) -> Any:
    """The JSON value. Raises: InvalidInput."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{option} is not JSON: {error}.", remedy="""A text needs quotes of its own: '"done"'."""
        ) from error


def json_object(option: str, text: str) -> dict[str, Any]:
    """The JSON object. Raises: InvalidInput."""
    value = json_value(option, text)
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} must be a JSON object.", remedy=f"""Write it like {option} '{{"a": 1}}'.""")
    return value
