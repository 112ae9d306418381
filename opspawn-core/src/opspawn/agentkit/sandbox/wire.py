"""Frames between the processes of a sandbox: four bytes of length, then as many bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

#: What is said first on the connection of a call: a guard is ready for the request; the template refuses, and says why;
#: nothing (the template has gone, and the call was never begun).
READY, REFUSED, GONE = b"+", b"-", b""


def packed(data: Any) -> bytes:
    """A JSON value as a frame."""
    return framed(json.dumps(data, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def receive(connection: socket.socket) -> bytes:
    """The next frame. Raises: EOFError: the other side has gone."""
    return _exactly(connection, int.from_bytes(_exactly(connection, 4), "big"))


async def read(reader: asyncio.StreamReader) -> bytes:
    """The next frame. Raises: IncompleteReadError: the other side has gone."""
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
