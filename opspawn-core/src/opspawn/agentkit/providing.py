"""For authors of model providers: what every vendor's protocol needs, and no vendor's client offers."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from opspawn.contracts.content import File, Image
from opspawn.contracts.model import ModelRequest, ToolCall
from opspawn.errors import ModelError


class ServerFault(Exception):
    """The server reported an error inside an answer that began well; `body` is its error object."""

    def __init__(self, body: Any) -> None:
        super().__init__(str(body))
        self.body = body


class BrokenAnswer(Exception):
    """The answer ended too early, or (`foreign`) is none of this protocol."""

    def __init__(self, text: str, *, foreign: bool = False) -> None:
        super().__init__(text)
        self.foreign = foreign


def with_settings(body: dict[str, Any], settings: Mapping[str, Any], reserved: Iterable[str]) -> dict[str, Any]:
    """Add the caller's settings to a body; a setting of None takes a default of ours out again.

    Raises:
        ModelError: a setting has the name of something that the provider decides, one of `reserved`.
    """
    for name in reserved:
        if name in settings:
            raise ModelError(f"{name!r} cannot be a model setting.", remedy="Take it out of the agent's settings.")
    merged = body | dict(settings)
    return {name: value for name, value in merged.items() if value is not None}


def read_calls(request: ModelRequest, raw: Iterable[tuple[Any, Any, Any]]) -> tuple[ToolCall, ...]:
    """Return the calls given as (id, name, arguments); arguments are an object, or its JSON text.

    Several local servers leave ids out, or repeat them. Such a call gets `call_N`, N being its number in the
    conversation, so that ids stay unique and a repeated answer gets the same ones.
    """
    taken = {call.id for message in request.messages for call in message.tool_calls}
    number = sum(len(message.tool_calls) for message in request.messages)
    calls = []
    for id, name, arguments in raw:
        if not isinstance(id, str) or not id or id in taken:
            while (id := f"call_{number}") in taken:
                number += 1
        taken.add(id)
        calls.append(_call(id, str(name or ""), arguments))
    return tuple(calls)


def _call(id: str, name: str, arguments: Any) -> ToolCall:
    if isinstance(arguments, dict):
        return ToolCall(id, name, arguments)
    text = arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)
    if not text.strip():
        return ToolCall(id, name)  # no arguments at all means none
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    return ToolCall(id, name, value) if isinstance(value, dict) else ToolCall(id, name, malformed=text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def count(figures: Any, *path: str) -> int:
    """The number at a path of nested objects; 0 where a server leaves it out."""
    for key in path:
        figures = figures.get(key) if isinstance(figures, dict) else None
    return int(figures) if isinstance(figures, (int, float)) and figures > 0 else 0


def base64_of(part: Image | File) -> str:
    """The bytes of a part as base64 text."""
    return base64.b64encode(part.data or b"").decode("ascii")


def data_url(part: Image | File) -> str:
    """The address of a part: its own, or one that holds its bytes."""
    return part.url if part.url is not None else f"data:{part.media_type};base64,{base64_of(part)}"


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """One line without secrets, at most 500 characters; servers like to quote the key they refuse."""
    for secret in secrets:
        # Shorter ones are words such as "ollama" or "EMPTY", given to please a client.
        if len(secret) >= 8:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:500]


def is_url(value: str) -> bool:
    """Whether this is an address of HTTP."""
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def shown_url(url: str) -> str:
    """The address without a user name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` (seconds or an HTTP date), or None."""
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return ms / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    # Against the server's own clock where it tells it, since ours may differ.
    now = _date(headers.get("date"))
    until = _date(value)
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if isfinite(number) else None


def _date(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except ValueError:
        return None
