"""What texts, names and numbers a memory takes, checked where they come in, so that every backend takes the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from opspawn.contracts.numbers import TOO_LONG
from opspawn.errors import InvalidInput

MAX_TEXT = 64 * 1024  # bytes
MAX_METADATA = 16 * 1024  # bytes
MAX_KEYS = 64
MAX_PARTS = 8
MAX_PART = 200  # characters
LONGEST_S = 100 * 366 * 86400.0
_ID = re.compile(r"[A-Za-z0-9_.:/#%-]{1,128}")


def checked_text(text: Any, what: str = "The text") -> str:
    """A text that can be kept. Raises: InvalidInput."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"{what} of a memory must say something, and is {_shown(text)}.")
    size = len(_bytes(text, what))
    if size > MAX_TEXT:
        raise InvalidInput(
            f"{what} has {size} bytes; {MAX_TEXT} are the most.", remedy="Keep the gist of it, or several parts."
        )
    return text


def checked_namespace(namespace: Any, *, least: int) -> tuple[str, ...]:
    """A namespace. Raises: InvalidInput."""
    if isinstance(namespace, str) or not isinstance(namespace, Sequence):
        raise InvalidInput(f"A namespace is a tuple of texts, not {_shown(namespace)}.", remedy='Write ("user:ada",).')
    if not least <= len(namespace) <= MAX_PARTS:
        raise InvalidInput(f"A namespace has {least} to {MAX_PARTS} parts, not {len(namespace)}.")
    for part in namespace:
        if not isinstance(part, str) or not 1 <= len(part) <= MAX_PART:
            raise InvalidInput(f"A part of a namespace is a text of 1 to {MAX_PART} characters, not {_shown(part)}.")
        _bytes(part, "A namespace")
    return tuple(namespace)


def checked_id(id: Any) -> str:
    """An id. Raises: InvalidInput."""
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidInput(f"{_shown(id)} is no id of a memory: up to 128 letters, digits and '_.:/#%-'.")
    return id


def checked_ids(ids: Any, most: int) -> tuple[str, ...]:
    """Ids. Raises: InvalidInput."""
    if isinstance(ids, str) or not isinstance(ids, Sequence) or len(ids) > most:
        raise InvalidInput(f"ids are a list of at most {most} texts, not {str(ids)[:60]!r}.")
    return tuple(checked_id(one) for one in ids)


def checked_part(name: str, value: Any, most: int) -> str:
    """A short text, perhaps empty. Raises: InvalidInput."""
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(f"{name} is a text of at most {most} characters, not {_shown(value)}.")
    _bytes(value, name)
    return value


def checked_chosen(name: str, value: Any, most: int) -> str:
    """A short text by which items are chosen. An empty one would mean all that have none, which hardly anybody means.

    Raises: InvalidInput.
    """
    if value == "":
        raise InvalidInput(
            f"{name} is empty.",
            remedy=f'Name one, or leave it out; those without a {name} fit the filter {{"field": "@{name}", "exists": '
            "false}.",
        )
    return checked_part(name, value, most)


def checked_share(name: str, value: Any) -> float:
    """A number from 0 to 1. Raises: InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(f"{name} is {_shown(value)}; a number from 0 to 1 is meant.")
    return float(value)


def checked_span(name: str, value: Any, *, least: float | None = None) -> float:
    """Seconds, above 0 or from `least`. Raises: InvalidInput."""
    fits = not isinstance(value, bool) and isinstance(value, int | float) and value <= LONGEST_S
    if not fits or (value <= 0 if least is None else value < least):
        raise InvalidInput(f"{name} is {_shown(value)}; seconds {'above 0' if least is None else 'from 0'} are meant.")
    return float(value)


def checked_moment(name: str, value: Any) -> None:
    """A time, or None. Raises: InvalidInput: it is none, or says no zone, so that nobody knows when it is."""
    if value is not None and not (isinstance(value, datetime) and value.utcoffset() is not None):
        raise InvalidInput(
            f"{name} is {_shown(value)}; a datetime with its zone is meant.", remedy="Give e.g. datetime.now(UTC)."
        )


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """Metadata, with tuples as lists. Raises: InvalidInput."""
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata is {_shown(metadata)}; an object is meant.")
    if len(metadata) > MAX_KEYS:
        raise InvalidInput(f"metadata has {len(metadata)} keys; {MAX_KEYS} are the most.")
    plain = {}
    for key, value in metadata.items():
        if not isinstance(key, str) or not 1 <= len(key) <= MAX_PART or key.startswith("@"):
            raise InvalidInput(f"metadata has the key {_shown(key)}; a text that does not begin with '@' is meant.")
        plain[key] = [_scalar(key, one) for one in value] if isinstance(value, list | tuple) else _scalar(key, value)
    size = len(_bytes(json.dumps(plain, ensure_ascii=False), "metadata"))
    if size > MAX_METADATA:
        raise InvalidInput(f"metadata has {size} bytes; {MAX_METADATA} are the most.")
    return plain


def _scalar(key: str, value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float) and abs(value) < 2**63:
        return value
    raise InvalidInput(f"metadata.{key} is {_shown(value)}; texts, numbers, true, false and lists of these are kept.")


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} cannot be written as UTF-8: half a character at {error.start}.") from error


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        return TOO_LONG
    return text if len(text) <= 60 else f"{text[:60]}…"
