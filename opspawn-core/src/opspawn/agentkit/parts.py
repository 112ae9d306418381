"""Parts of messages as plain JSON and back, and values that consist of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from opspawn.contracts.content import Called, File, Image, Part, Reasoning, Text
from opspawn.errors import InvalidInput

_SHOWN = (Text, Image, File)


def part_to_json(part: Part) -> dict[str, Any]:
    """Return `{"type": "text" | "image" | "file" | "reasoning" | "called", ...}`, bytes as base64, empty fields left
    out. This is also how images and files stand in the input of a durable run, and over HTTP.
    """
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Called):
        return {"type": "called", "id": part.id}
    if isinstance(part, Reasoning):
        told: dict[str, Any] = {"text": part.text, "vendor": part.vendor, "model": part.model, "data": dict(part.data)}
        return {"type": "reasoning", **{key: value for key, value in told.items() if value}}
    data = base64.b64encode(part.data).decode("ascii") if part.data is not None else None
    name = part.name if isinstance(part, File) else ""
    told = {"mediaType": part.media_type, "data": data, "url": part.url, "name": name}
    kind = "image" if isinstance(part, Image) else "file"
    return {"type": kind, **{key: value for key, value in told.items() if value}}


def part_from_json(data: Mapping[str, Any]) -> Part:
    """Return the part. Raises: ValueError, KeyError: it is none of ours."""
    kind = data["type"]
    if kind == "text":
        return Text(str(data["text"]))
    if kind == "called":
        return Called(data["id"])
    if kind == "reasoning":
        return Reasoning(data.get("text", ""), data.get("vendor", ""), data.get("model", ""), data.get("data") or {})
    if kind not in ("image", "file"):
        raise ValueError(f"there is no part of type {kind!r}")
    url = data.get("url")
    raw = None if url else base64.b64decode(data["data"], validate=True)
    media_type = str(data.get("mediaType") or data.get("media_type") or "")
    return Image(raw, media_type, url) if kind == "image" else File(raw, media_type, url, str(data.get("name") or ""))


def parts_of(value: Any) -> tuple[Part, ...]:
    """The parts that a value consists of: texts, images and files, as objects or as their JSON, at least one of which
    is no text. Empty for any other value.

    Raises: InvalidInput: an image or file in it is not written as it must be.
    """
    items = value if isinstance(value, (list, tuple)) else [value]
    if not any(isinstance(item, (Image, File)) or _is_media(item) for item in items):
        return ()
    if not all(isinstance(item, (str, *_SHOWN)) or _is_part(item) for item in items):
        return ()
    return tuple(_part(item, index) for index, item in enumerate(items))


def plain_parts(value: Any) -> Any:
    """The value with the images and files in it, or in the list that it is, as JSON; any other value as it is."""
    if isinstance(value, (Image, File)):
        return part_to_json(value)
    if isinstance(value, (list, tuple)) and any(isinstance(item, (Image, File)) for item in value):
        return [part_to_json(item) if isinstance(item, _SHOWN) else item for item in value]
    return value


def words_of(parts: Sequence[Part]) -> str:
    """The text among the parts."""
    return "".join(part.text for part in parts if isinstance(part, Text))


def _is_part(item: Any) -> bool:
    return _is_media(item) or (isinstance(item, Mapping) and item.get("type") == "text" and "text" in item)


def _is_media(item: Any) -> bool:
    return isinstance(item, Mapping) and item.get("type") in ("image", "file") and bool(item.keys() & {"data", "url"})


def _part(item: Any, index: int) -> Part:
    if isinstance(item, str):
        return Text(item)
    if isinstance(item, _SHOWN):
        return item
    try:
        return part_from_json(item)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise InvalidInput(
            f"Part {index} of the input, of type {item.get('type')!r}, cannot be read: {error}",
            remedy='Write {"type": "image", "mediaType": "image/png", "data": "BASE64"}, or "url" instead of both.',
        ) from error
