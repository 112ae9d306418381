"""What messages hold besides plain text: images, files, and the reasoning that a vendor wants back."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text among other parts."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: its bytes with their media type ("image/png"), or an address that the vendor itself fetches."""

    data: bytes | None = None
    media_type: str = ""
    url: str | None = None

    def __post_init__(self) -> None:
        _check("Image", self.data, self.media_type, self.url)

    @classmethod
    def read(cls, path: str | Path, media_type: str | None = None) -> Image:
        """An image from a file; its type is told by the name unless given. Raises: OSError, ValueError."""
        return cls(Path(path).read_bytes(), media_type or _type_of(path))


@dataclass(frozen=True, slots=True)
class File:
    """A document, such as a PDF or a text: its bytes with their media type, or an address that the vendor fetches."""

    data: bytes | None = None
    media_type: str = ""
    url: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        _check("File", self.data, self.media_type, self.url)

    @classmethod
    def read(cls, path: str | Path, media_type: str | None = None) -> File:
        """A document from a file; its type is told by the name unless given. Raises: OSError, ValueError."""
        return cls(Path(path).read_bytes(), media_type or _type_of(path), None, Path(path).name)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought before it spoke, as far as the vendor shows it.

    `data` is the vendor's own, opaque and unchanged (a signature, an encrypted item): only the provider whose name is
    in `vendor` reads it, and sends it back only to the `model` that made it. Any other provider leaves the part out.
    """

    text: str = ""
    vendor: str = ""
    model: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Called:
    """The place of a tool call among the other parts of an answer; the call itself is in `tool_calls`."""

    id: str


Part = Text | Image | File | Reasoning | Called


def _check(kind: str, data: bytes | None, media_type: str, url: str | None) -> None:
    if (data is None) == (url is None):
        raise ValueError(f"{kind} takes either data or url.")
    if data is not None and "/" not in media_type:
        raise ValueError(f'{kind} with data needs its media_type, e.g. "image/png"; {media_type!r} is none.')


def _type_of(path: str | Path) -> str:
    found, _ = mimetypes.guess_type(str(path))
    if found is None:
        raise ValueError(f"The type of {str(path)!r} cannot be told by its name; pass media_type.")
    return found
