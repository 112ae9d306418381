"""Short digests of what a step was asked, so that a resumed run notices when the code asks for something else.

Names, arguments and messages count; schemas, versions and docstrings never do: a better description must not stop a
run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from opspawn.contracts.content import File, Image, Text
from opspawn.contracts.model import Message


def digest(value: Any) -> str:
    """Return 32 hexadecimal characters that depend only on the JSON value, not on the order of its keys.

    The same in every process: sets count in a fixed order, and what JSON cannot say counts by its class alone.
    """
    hash = _EMPTY.copy()
    hash.update(canonical(value))
    return hash.hexdigest()


def message_digest(message: Message) -> bytes:
    """Return 16 bytes for one message. Images and files count by their bytes or address; reasoning does not count, and
    neither does which model spoke: both are answers, not questions.
    """
    calls = [(call.id, call.name, call.arguments, call.malformed) for call in message.tool_calls]
    asked: list[Any] = [message.role, message.content, calls, message.tool_call_id, message.is_error]
    if message.parts and any(isinstance(part, (Image, File)) for part in message.parts):
        asked.append([_shown(part) for part in message.parts if isinstance(part, (Text, Image, File))])
    return blake2b(canonical(asked), digest_size=16).digest()


def content_digest(part: Image | File) -> str:
    """Return what stands for an image or file: its address, or 32 hexadecimal characters for its bytes."""
    return part.url or "" if part.data is None else blake2b(part.data, digest_size=16).hexdigest()


def _shown(part: Text | Image | File) -> list[str]:
    if isinstance(part, Text):
        return ["text", part.text]
    return [type(part).__name__.lower(), part.media_type, content_digest(part)]


def request_digest(messages: Sequence[Message]) -> str:
    """Return the digest of a conversation: what journals record for a model call, and what `replay:` looks up."""
    return combine([message_digest(message) for message in messages])


def combine(parts: Sequence[bytes]) -> str:
    """Return one digest over several, in order."""
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


def canonical(value: Any) -> bytes:
    """Return a value as JSON in its one form: keys in order, no spaces, UTF-8."""
    try:
        chunks = _chunks(value, 0)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, or a circle
        chunks = _chunks(to_jsonable_python(value, fallback=_class_of), 0)
    return "".join(chunks).encode("utf-8", "surrogatepass")


def _plainer(value: Any) -> Any:
    """One level of what json does not know. Nothing may depend on addresses or on the seed of hashes."""
    if isinstance(value, Set):
        return sorted((to_jsonable_python(one, fallback=_class_of) for one in value), key=canonical)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return to_jsonable_python(value, fallback=_class_of)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plainer)


def _encoding() -> Callable[[Any, int], Sequence[str]]:
    """What `_ENCODER.encode` does for a list or a dict, in pieces, without making the same C encoder anew each time,
    which takes longer than to use it.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: list(_ENCODER.iterencode(value))
    chunks: Callable[[Any, int], Sequence[str]] = make(
        None, _plainer, json.encoder.encode_basestring, None, ":", ",", True, False, True
    )
    return chunks


_chunks = _encoding()
_EMPTY = blake2b(digest_size=16)  # to copy it takes half of making one


def _class_of(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"
