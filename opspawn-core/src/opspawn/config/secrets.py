"""Keeps secrets out of what is shown: by the name of a key, and by the look of a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import SecretBytes, SecretStr

MASK = "***"

_SECRET_KEY = re.compile(
    r"(^|[._-])(token|secret|password|passwd|passphrase|pepper|credentials?|authorization|cookie"
    r"|(api|access|private|secret|signing|encryption)[_-]?key)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{8,}"
    r"|\bosp_[A-Za-z0-9]+_[A-Za-z0-9_-]+"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"
    r"|(?<=\bBearer )[^\s\"',;]{6,}|(?<=\bBasic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=://)[^\s/@:]*:(?!\d+/)(?:(?!://)[^\s\"'])+(?=@)|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)",
    re.IGNORECASE,
)
_SECRET_PAIR = re.compile(
    r"(?P<key>\b[\w-]*(?:api[_-]?key|password|passwd|secret|access[_-]?token|auth[_-]?token))(?P<mid>[\"']?\s*[=:]\s*[\"']?)"
    r"(?P<value>[^\s\"',;&})\]]{3,})",
    re.IGNORECASE,
)


def looks_secret(key: str) -> bool:
    """Whether a (dotted) key names a secret: api_key, token, password, …; `max_tokens` does not."""
    return _SECRET_KEY.search(key) is not None


def redact(text: str) -> str:
    """The text with what looks like a key, token or password replaced by `***`."""
    return _SECRET_PAIR.sub(rf"\g<key>\g<mid>{MASK}", _SECRET_TEXT.sub(MASK, text))


def masked(value: Any, key: str = "") -> Any:
    """A copy of JSON-like data in which secrets are `***`; unset and empty ones stay as they are."""
    if isinstance(value, Mapping):
        return {inner: masked(item, f"{key}.{inner}") for inner, item in value.items()}
    if isinstance(value, SecretStr | SecretBytes) or (looks_secret(key) and value not in (None, "", [], False)):
        return MASK
    if isinstance(value, list | tuple):
        return [masked(item, key) for item in value]
    return redact(value) if isinstance(value, str) else value
