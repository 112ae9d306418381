"""How long a number may be: JSON allows any, and Python reads none of more than 4,300 digits, in other processes even
fewer. What one process wrote, every other must read, so longer ones are refused when they come in.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: How many digits a whole number may have.
MAX_DIGITS = 4000
#: Between these lies every whole number.
LARGEST = 10**MAX_DIGITS - 1
SMALLEST = -LARGEST
TOO_LONG = f"a number of more than {MAX_DIGITS:,} digits, which Python does not read again; give a text instead"

_STRIDE = MAX_DIGITS // 100
_SAMPLED = re.compile("[0-9]{100}")


def has_long_number(text: str) -> bool:
    """Whether a JSON text has a number of more than `MAX_DIGITS` digits. Mostly some characters of it tell that not."""
    if len(text) <= MAX_DIGITS or _SAMPLED.search(text[::_STRIDE]) is None:
        return False
    try:
        json.loads(text, parse_int=_check_length)
    except _Long:
        return True
    except (ValueError, RecursionError):  # it has no long number up to where Python can read it
        return False
    return False


class _Long(Exception):
    pass


def _check_length(digits: str) -> Any:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _Long
