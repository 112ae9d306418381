"""What a server answered, as a tool returns it: JSON, text, images; and no more of it than its limit."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from typing import Any

from mcp.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)
from pydantic_core import PydanticSerializationError, to_json

from opspawn.contracts.content import File, Image
from opspawn.errors import ToolError


def value_of(result: CallToolResult, server: str, tool: str, most_bytes: int) -> Any:
    """The value of a call: the structured content if there is one, else its text, with images and files beside it.

    Raises: ToolError: the server says that the call failed; its words are the model's to read.
    """
    if result.is_error:
        said = _text(result, most_bytes)
        raise ToolError(f"{server}/{tool} failed: {said}" if said else f"{server}/{tool} failed, and says no more.")
    parts = [part for item in result.content if (part := part_of(item, most_bytes)) is not None]
    if parts:
        text = _text(result, most_bytes)
        return [text, *parts] if text else parts
    if result.structured_content is not None:
        return _clamped_json(result.structured_content, most_bytes)
    return _text(result, most_bytes)


def clamped(text: str, most_bytes: int) -> str:
    """The text, cut after so many bytes, and then it says so."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most_bytes:
        return text
    kept = data[:most_bytes].decode("utf-8", "ignore")
    return f"{kept}\n[Cut off: {most_bytes:,} of {len(data):,} bytes (max_result_bytes).]"


def _clamped_json(value: Any, most_bytes: int) -> Any:
    with contextlib.suppress(PydanticSerializationError):  # half of a pair of surrogates
        if len(to_json(value)) <= most_bytes:
            return value
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text.encode("utf-8", "surrogatepass")) <= most_bytes else clamped(text, most_bytes)


def _text(result: CallToolResult, most_bytes: int) -> str:
    texts = (words_of(item) or _left_out(item, most_bytes) for item in result.content)
    return clamped("\n".join(text for text in texts if text), most_bytes)


def _left_out(item: Any, most_bytes: int) -> str:
    """What is said of an image that the value does not have."""
    if not isinstance(item, ImageContent) or part_of(item, most_bytes) is not None:
        return ""
    return f"[Image, {item.mime_type}, left out: it is broken, or larger than max_result_bytes.]"


def words_of(item: Any) -> str:
    """The text of one item of content, or what stands for it; empty for an image."""
    match item:
        case TextContent():
            return item.text
        case ResourceLink():
            return f"[Resource {item.uri}{f': {item.description}' if item.description else ''}]"
        case EmbeddedResource(resource=TextResourceContents() as resource):
            return f"[Resource {resource.uri}]\n{resource.text}"
        case AudioContent():
            return f"[Audio, {item.mime_type}, left out]"
        case EmbeddedResource():
            return f"[Resource {item.resource.uri}]"
    return ""


def part_of(item: Any, most_bytes: int) -> Image | File | None:
    """An image or a document; None for anything else, and for one that is too large or broken."""
    if isinstance(item, ImageContent):
        data = _bytes(item.data, most_bytes)
        return None if data is None else Image(data, item.mime_type)
    if isinstance(item, EmbeddedResource) and not isinstance(item.resource, TextResourceContents):
        data = _bytes(item.resource.blob, most_bytes)
        kind = item.resource.mime_type or "application/octet-stream"
        return None if data is None else File(data, kind, None, item.resource.uri.rpartition("/")[2])
    return None


def _bytes(text: str, most_bytes: int) -> bytes | None:
    if len(text) > most_bytes * 4 // 3 + 4:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
