"""What ids, keys and labels may be: one rule, with the same words from Python, on the command line and over HTTP.

An id stands in URLs, file names and on command lines, so it is written as it is everywhere. A key travels in a header,
which carries visible ASCII and loses spaces at its ends. A label is an id with a short text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opspawn.errors import InvalidInput

#: For schemas; `fullmatch` it.
ID_PATTERN = r"[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,199}"
KEY_PATTERN = r"[!-~]([ -~]{0,198}[!-~])?"
MAX_LABELS = 64
MAX_LABEL = 200

_ID = re.compile(ID_PATTERN)
_KEY = re.compile(KEY_PATTERN)
#: What an id is made of, for sentences.
ID_WORDS = "1 to 200 letters from a to z, digits and any of _ . : @ -, not beginning with a dot"


def is_id(value: Any) -> bool:
    """Whether a value is an id: of a session, a task, an agent, a workflow, or the name of a label."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def check_id(argument: str, value: Any) -> None:
    """Return if the value of an argument is an id. Raises: InvalidInput."""
    if not is_id(value):
        raise InvalidInput(f"is {_short(value)}; an id is {ID_WORDS}.", argument=argument)


def check_key(argument: str, value: Any) -> None:
    """Return if the value of an argument is an idempotency key. Raises: InvalidInput."""
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        words = f"is {_short(value)}; a key is 1 to 200 visible ASCII characters, with spaces only between them."
        raise InvalidInput(words, argument=argument)


def check_labels(labels: Any) -> None:
    """Return if a task can have the labels. Raises: InvalidInput."""
    if not isinstance(labels, Mapping):
        words = f"is {_short(labels)}; texts by name are meant."
        raise InvalidInput(words, argument="labels", remedy='Write e.g. {"team": "blue"}.')
    if len(labels) > MAX_LABELS:
        raise InvalidInput(f"is of {len(labels)} labels; {MAX_LABELS} are the most.", argument="labels")
    for name, value in labels.items():
        if not is_id(name):
            raise InvalidInput(f"is {_short(labels)}; a name is {ID_WORDS}.", argument="labels")
        if not isinstance(value, str) or len(value) > MAX_LABEL or not value.isprintable():
            words = f"is {_short(labels)}; a value is a text of up to {MAX_LABEL} printable characters."
            raise InvalidInput(words, argument="labels")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
