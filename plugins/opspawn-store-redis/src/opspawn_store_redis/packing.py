"""MessagePack, which the functions read and write as they read nothing else: with `cmsgpack`, in C."""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]


def packed(value: Any) -> bytes:
    """A value as bytes. Raises: UnicodeError: it holds a text that is none."""
    data: bytes = msgpack.packb(value, use_bin_type=False)  # `cmsgpack` knows texts alone
    return data


def packed_each(values: tuple[Any, ...]) -> bytes:
    """Values as bytes, one after the other: `cmsgpack.unpack` gives them all at once, and makes no table of them.

    Raises: UnicodeError: one of them holds a text that is none.
    """
    return packed(values)[1 if len(values) < 16 else 3 :]


def unpacked(data: bytes) -> Any:
    """The value of bytes."""
    return msgpack.unpackb(data, unicode_errors="surrogatepass", strict_map_key=False)
