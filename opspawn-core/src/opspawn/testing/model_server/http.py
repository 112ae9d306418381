"""As much of HTTP/1.1 as a model server needs: keep-alive, bodies of known length, chunks, and noticing who left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

MAX_BODY = 32 * 1024 * 1024


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class Cut(Exception):
    """The script wants the connection closed here."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request; header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to go on using the connection."""
        return self.headers.get("connection", "").lower() != "close"


class Connection:
    """One connection of a client, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # `pause` watches for the end of the connection by reading; a byte that came instead begins the next request.
        self._ahead = b""

    async def receive(self) -> HttpRequest | None:
        """The next request; None when the client closed the connection instead.

        Raises:
            ValueError: this is not HTTP, or the body is larger than 32 MiB.
        """
        try:
            head = self._ahead + await self._reader.readuntil(b"\r\n\r\n")
            self._ahead = b""
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            method, target, _ = first.split(" ", 2)
            parts = (line.partition(":") for line in lines)
            headers = {name.strip().lower(): value.strip() for name, _, value in parts}
            length = int(headers.get("content-length", "0"))
            if length > MAX_BODY:
                raise ValueError("The request is too large.")
            body = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except asyncio.LimitOverrunError as error:
            raise ValueError("The head of the request is too large.") from error
        return HttpRequest(method, target.partition("?")[0], headers, body)

    async def pause(self, seconds: float) -> None:
        """Wait. Raises: ClientGone, as soon as the client closes the connection."""
        if seconds <= 0:
            return
        read = asyncio.ensure_future(self._reader.read(1))
        try:
            await asyncio.wait({read}, timeout=seconds)
            if read.done():
                self._ahead = read.result()
                if not self._ahead:
                    raise ClientGone
        finally:
            read.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await read

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises: ClientGone, if nobody is there to read them."""
        if self._reader.at_eof():
            raise ClientGone
        self._writer.write(data)
        await self._writer.drain()

    async def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends the body."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status line and the headers."""
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def send_body(
        self,
        status: int,
        body: Mapping[str, Any] | str,
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        """Send a whole answer, JSON or plain text; with `cut` only the first half of its body, and raise `Cut`."""
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        data = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
        await self.send_head(status, {"content-type": kind, "content-length": str(len(data)), **(headers or {})})
        await self.send(data[: len(data) // 2] if cut else data)
        if cut:
            raise Cut

    async def close(self) -> None:
        """Send what is buffered, then close."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()
