"""Short digests of what a step was asked, so that a resumed run notices when the code asks for something else.

Names, arguments and messages count; schemas, versions and docstrings never do: a better description must not stop a run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from pydantic_core import to_jsonable_python

from opspawn.contracts.model import Message


def digest(value: Any) -> str:
    """Return 32 hexadecimal characters that depend only on the JSON value, not on the order of its keys."""
    return blake2b(_canonical(value), digest_size=16).hexdigest()


def message_digest(message: Message) -> bytes:
    """Return 16 bytes for one message."""
    calls = [(call.id, call.name, call.arguments, call.malformed) for call in message.tool_calls]
    return blake2b(
        _canonical([message.role, message.content, calls, message.tool_call_id, message.is_error]), digest_size=16
    ).digest()


def request_digest(messages: Sequence[Message]) -> str:
    """Return the digest of a conversation: what journals record for a model call, and what `replay:` looks up."""
    return combine([message_digest(message) for message in messages])


def combine(parts: Sequence[bytes]) -> str:
    """Return one digest over several, in order."""
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


def _canonical(value: Any) -> bytes:
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except (TypeError, ValueError):
        text = json.dumps(to_jsonable_python(value, fallback=repr), sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
