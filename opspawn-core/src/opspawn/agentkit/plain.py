"""Values as JSON: what a journal keeps is what the code gets, on the first run as on a replay."""

from __future__ import annotations

import json
from types import NoneType
from typing import Any

from pydantic_core import to_jsonable_python

from opspawn.agentkit.parts import plain_parts


def plain_json(value: Any) -> Any:
    """The value as it comes back from a journal: models, dataclasses, dates and sets converted, NaN as null, images and
    files as `part_to_json` writes them.

    Raises: ValueError: JSON cannot say it.
    """
    return value if type(value) in _SCALARS else to_jsonable_python(plain_parts(value), inf_nan_mode="null")


_SCALARS = (str, int, bool, NoneType)


def as_text(value: Any) -> str:
    """A JSON value as a model reads it: a text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
