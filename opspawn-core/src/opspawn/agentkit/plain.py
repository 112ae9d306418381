"""Values as JSON: what a journal keeps is what the code gets, on the first run as on a replay.

JSON has no NaN, no infinity, and no keys but texts, and Python reads no number of thousands of digits. Something else
in their place (null, "1") would be another result than the code returned, on every replay, without a word; so they are
refused, and the refusal names the place. Models and dataclasses write themselves as they like, but no NaN either.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from types import NoneType
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from opspawn.agentkit.parts import plain_parts
from opspawn.contracts.numbers import LARGEST, SMALLEST, TOO_LONG
from opspawn.errors import ToolError

#: How many levels of lists and objects a value may have; it is that of pydantic.
MAX_DEPTH = 255

_SCALARS = frozenset((str, bool, NoneType))
_TEXT = frozenset((str,))
_ROWS = (list, tuple, set, frozenset)
_FEW = 16  # entries of a dict that are looked at one by one


def plain_json(value: Any) -> Any:
    """The value as it comes back from a journal: models, dataclasses, dates and sets converted, images and files as
    `part_to_json` writes them.

    Raises: ValueError: JSON cannot say it; names the place, e.g. "at scores[2] it has NaN".
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict and len(value) <= _FEW and _flat(value):
        return value.copy()
    try:
        known = _plain(value)
    except RecursionError:  # too deep, or it holds itself: the conversion says so
        known = None
    if known is False:
        raise ValueError(next(_faults(value, "")))
    try:
        plain = to_jsonable_python(value if known else plain_parts(value), inf_nan_mode="constants")
    except (ValueError, RecursionError) as error:
        raise _in_words(error) from error
    if known is None:
        fault = next(_faults(value, ""), None) or next(_faults(plain, ""), None)
        if fault is not None:
            raise ValueError(fault)
    return plain


def kept_json(value: Any) -> tuple[Any, int]:
    """The value as `plain_json` gives it, for what comes from outside, and its bytes as JSON.

    Raises: ValueError: JSON cannot say it, or a text in it is none.
    """
    plain = plain_json(value)
    try:
        return plain, len(to_json(plain))
    except PydanticSerializationError as error:  # half of it would be stored, and then break whoever reads it
        if "surrogates" not in str(error):
            raise _in_words(error) from error
        raise ValueError("a text in it has half of a surrogate pair, which is no character") from error


def _in_words(error: Exception) -> Exception:
    """What the conversion says of a value, in words that tell what to do."""
    if "Circular reference" in str(error):
        return ValueError("it holds itself; name the part by an id instead")
    if isinstance(error, RecursionError) or "depth" in str(error):
        return ValueError(f"it is nested more than {MAX_DEPTH} levels deep; keep it flatter, or give a part as a text")
    return error


def tool_json(tool: str, value: Any) -> Any:
    """The value of a tool as plain JSON. Raises: ToolError: of the class `invalid_output`, names the place."""
    try:
        return plain_json(value)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        kind = type(value)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        words = f"The tool {tool!r} returned {name}, which cannot be expressed in JSON: {error}"
        raise ToolError(words, error_type="invalid_output") from error


def as_text(value: Any) -> str:
    """A JSON value as a model reads it: a text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _flat(value: dict[Any, Any]) -> bool:
    """Whether a dict holds only what is JSON as it is, and cannot be changed: then a copy of it is as good as another
    conversion, and most steps return one.
    """
    for key, item in value.items():
        kind = type(item)
        if type(key) is not str or (
            kind not in _SCALARS
            and not (kind is int and SMALLEST <= item <= LARGEST)
            and not (kind is float and isfinite(item))
        ):
            return False
    return True


def _plain(value: Any) -> bool | None:
    """Whether a value is JSON as it is; None if it holds something that must be converted first. Runs with each step,
    so it keeps no path: see `_faults`.
    """
    kind = type(value)
    items: Iterable[Any]
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return None  # or a kind of text
        items = value.values()
    elif kind is list:
        items = value
    elif kind is float:
        return isfinite(value)
    elif kind is int:
        return bool(SMALLEST <= value <= LARGEST)
    else:
        return True if kind in _SCALARS else None
    if _SCALARS.issuperset(map(type, items)):
        return True
    known: bool | None = True
    for item in items:
        kind = type(item)
        if kind in _SCALARS or (kind is int and SMALLEST <= item <= LARGEST):
            continue
        if (one := _plain(item)) is not True:
            if one is False:
                return False
            known = None
    return known


def _faults(value: Any, where: str) -> Iterator[str]:
    """What JSON cannot say in a value, with its place."""
    if isinstance(value, float):
        if not isfinite(value):
            name = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
            yield f"{_at(where) or 'it is'} {name}, which JSON does not know; give None instead"
    elif isinstance(value, int):
        if not SMALLEST <= value <= LARGEST:
            yield f"{_at(where) or 'it is'} {TOO_LONG}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                words = f"the key {key!r:.60}, and a key in JSON is a text; write str(...) around it"
                yield f"{_at(where) or 'it has'} {words}"
            yield from _faults(item, f"{where}.{key}"[:200])
    elif isinstance(value, _ROWS):
        for index, item in enumerate(value):
            yield from _faults(item, f"{where}[{index}]"[:200])


def _at(where: str) -> str:
    return f"at {where.lstrip('.')} it has" if where else ""
