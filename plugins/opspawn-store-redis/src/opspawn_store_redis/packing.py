"""MessagePack, which the scripts read and write as they read nothing else: with `cmsgpack`, in C."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]


def packed(value: Any) -> bytes:
    """A value as bytes. Raises: UnicodeError: it holds a text that is none."""
    data: bytes = msgpack.packb(value)
    return data


def unpacked(data: bytes) -> Any:
    """The value of bytes."""
    return msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
