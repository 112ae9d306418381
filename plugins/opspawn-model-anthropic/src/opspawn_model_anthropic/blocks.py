"""Messages as the protocol's blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from opspawn.agentkit.providing import base64_of
from opspawn.contracts.model import Called, File, Image, Message, Part, Reasoning, Text
from opspawn.errors import ModelError

VENDOR = "anthropic"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def message_blocks(message: Message, model: str) -> list[dict[str, Any]]:
    """The blocks of one message; none for one that says nothing.

    Raises: ModelError: an image or file of a kind that the vendor does not read.
    """
    parts = message.parts or (Text(message.content),)
    if message.role == "tool":
        return [_result(message, parts)]
    if message.role == "assistant":
        return list(_answer(message, parts, model))
    return [block for part in parts if (block := _shown(part)) is not None]


def call_id(id: str | None) -> str:
    """The id of a call as the protocol allows it: another vendor's may hold other characters."""
    if id is not None and _ID.fullmatch(id):
        return id
    return "call_" + blake2b((id or "").encode(), digest_size=12).hexdigest()


def _answer(message: Message, parts: tuple[Part, ...], model: str) -> Iterator[dict[str, Any]]:
    left = {call.id: call for call in message.tool_calls}
    for part in parts:
        if isinstance(part, Reasoning):
            if part.vendor == VENDOR and part.model == model:
                yield _thought(part)
        elif isinstance(part, Called):
            if (call := left.pop(part.id, None)) is not None:
                yield _use(call.id, call.name, call.arguments)
        elif isinstance(part, Text) and part.text.strip():
            yield {"type": "text", "text": part.text}
    for call in left.values():
        yield _use(call.id, call.name, call.arguments)


def _use(id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id(id), "name": name, "input": arguments}


def _thought(part: Reasoning) -> dict[str, Any]:
    if "redacted" in part.data:
        return {"type": "redacted_thinking", "data": part.data["redacted"]}
    return {"type": "thinking", "thinking": part.text, "signature": part.data.get("signature", "")}


def _result(message: Message, parts: tuple[Part, ...]) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id(message.tool_call_id)}
    if content := [shown for part in parts if (shown := _shown(part)) is not None]:
        block["content"] = content if message.parts else message.content
    return block | {"is_error": True} if message.is_error else block


def _shown(part: Part) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Image):
        return {"type": "image", "source": _image_source(part)}
    if isinstance(part, File):
        title = {"title": part.name} if part.name else {}
        return {"type": "document", "source": _file_source(part), **title}
    return None


def _image_source(image: Image) -> dict[str, Any]:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    if image.media_type not in _IMAGES:
        raise _unreadable("image", image.media_type, "Give it JPEG, PNG, GIF or WebP.")
    return {"type": "base64", "media_type": image.media_type, "data": base64_of(image)}


def _file_source(file: File) -> dict[str, Any]:
    if file.url is not None:
        return {"type": "url", "url": file.url}
    if file.media_type == "application/pdf":
        return {"type": "base64", "media_type": file.media_type, "data": base64_of(file)}
    if file.media_type.startswith("text/") or file.media_type in ("application/json", "application/xml"):
        text = (file.data or b"").decode("utf-8", "replace")
        return {"type": "text", "media_type": "text/plain", "data": text or " "}
    raise _unreadable("file", file.media_type, "Give it PDF or text.")


def _unreadable(what: str, media_type: str, remedy: str) -> ModelError:
    return ModelError(f"The provider 'anthropic' cannot show its models a {what} of type {media_type}.", remedy=remedy)
