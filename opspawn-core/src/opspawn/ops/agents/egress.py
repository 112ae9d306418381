"""The way out: one POST to an address that somebody else named.

Such an address may point into our own network, so the name is resolved once, every address that it has is looked at,
and the connection goes to the one that was looked at: no second look-up can lead elsewhere. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from opspawn.errors import StepFailed

_HEAD_BYTES = 32 * 1024
_BODY_BYTES = 2048
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said; `text` is the begin of its body, at most 2 KiB."""

    status: int
    headers: Mapping[str, str]
    text: str


async def post_json(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool = False
) -> Answer:
    """POST a JSON body and return the answer, whatever its status.

    Args:
        timeout_s: for all of it, from the look-up of the name to the answer.
        allow_private: whether addresses that are not global will do.

    Raises: StepFailed: with the error type "denied" (the address is not allowed), "timeout", or "transient" (the name
        has no address, nobody listens, or the answer is no HTTP).
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise StepFailed(f"{url!r} is no http address.", error_type="denied")
    try:
        async with asyncio.timeout(timeout_s):
            return await _post(parts, body, headers, allow_private)
    except TimeoutError as error:
        raise StepFailed(f"{_shown(parts)} did not answer within {timeout_s:g} s.", error_type="timeout") from error
    except (OSError, ssl.SSLError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise StepFailed(f"{_shown(parts)} cannot be reached: {why}", error_type="transient") from error


async def _post(parts: Any, body: bytes, headers: Mapping[str, str], allow_private: bool) -> Answer:
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    address = await _address(parts.hostname, port, allow_private, _shown(parts))
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(
        address, port, ssl=context, server_hostname=parts.hostname if secure else None, limit=_HEAD_BYTES
    )
    try:
        writer.write(_head(parts, headers, len(body)) + body)
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()


async def _address(host: str, port: int, allow_private: bool, shown: str) -> str:
    """The address to connect to. Raises: StepFailed: one that the name has is not allowed. OSError: it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # SOCK_STREAM
    addresses = [str(entry[4][0]) for entry in found]
    if not allow_private and (inner := [one for one in addresses if not is_global(one)]):
        raise StepFailed(
            f"{shown} lies at {inner[0]}, which is no public address. Set agents.allow_private = true to allow it.",
            error_type="denied",
        )
    return addresses[0]


def is_global(address: str) -> bool:
    """Whether an address belongs to the public internet; also for an IPv4 address that is wrapped into IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour
        if wrapped is None and ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_global(str(wrapped))
    return ip.is_global and not ip.is_multicast


def _head(parts: Any, headers: Mapping[str, str], length: int) -> bytes:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
    host = host.encode("idna").decode() if not host.isascii() else host
    named = f"{host}:{parts.port}" if parts.port else host
    lines = [f"POST {path}{query} HTTP/1.1", f"Host: {named}", "Connection: close", f"Content-Length: {length}"]
    lines += ["Content-Type: application/json", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _answer(reader: asyncio.StreamReader) -> Answer:
    status = 100
    while 100 <= status < 200:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = head[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError("the answer is no HTTP")
        status = int(rest[:3])
    pairs = (line.partition(":") for line in head[1:] if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    text = (await reader.read(_BODY_BYTES)).decode("utf-8", "replace") if status >= 300 else ""
    return Answer(status, headers, text)


def _shown(parts: Any) -> str:
    return f"{parts.scheme}://{parts.netloc}"


def compact_json(data: Any) -> bytes:
    """JSON without spaces, in UTF-8: the bytes that are signed and sent."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
