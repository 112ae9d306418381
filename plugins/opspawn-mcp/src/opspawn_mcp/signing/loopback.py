"""The place at which a browser ends: a little listener on this machine, for one sign-in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

_PATIENCE_S = 10.0
_LONGEST = 16 * 1024
_PAGE = "<!doctype html><meta charset=utf-8><title>Opspawn</title><p>{}</p>"


@asynccontextmanager
async def listening(redirect_uri: str, state: str) -> AsyncIterator[asyncio.Future[str]]:
    """Within, what comes to the address with the state that is expected ends the future: the whole address.

    Whatever else comes is refused, and changes nothing. Raises: OSError: the port is taken.
    """
    wanted = urlsplit(redirect_uri)
    came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                address = _address(head, redirect_uri, wanted.netloc, wanted.path, state)
                if address is None:
                    await _answer(writer, "400 Bad Request", "This is no answer to the sign-in that is waited for.")
                    return
                await _answer(writer, "200 OK", "Go back to the terminal: it says whether you are signed in.")
                if not came.done():
                    came.set_result(address)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, wanted.hostname, wanted.port, limit=_LONGEST)
    try:
        yield came
    finally:
        server.close()
        came.cancel()


def _address(head: str, redirect_uri: str, host: str, path: str, state: str) -> str | None:
    """The address of a request, if the browser was sent there by the sign-in that is waited for."""
    lines = head.split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target = rest.partition(" ")[0]
    hosts = [value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name.lower() == "host"]
    asked, _, query = target.partition("?")
    if method != "GET" or asked != path or hosts != [host] or f"state={state}" not in query.split("&"):
        return None
    return f"{redirect_uri}?{query}"


async def _answer(writer: asyncio.StreamWriter, status: str, words: str) -> None:
    body = _PAGE.format(words).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
